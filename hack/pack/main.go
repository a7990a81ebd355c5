// SPDX-License-Identifier: Apache-2.0

// Pack compresses executables for embedding into minikubelet:
//
//	go run ./hack/pack -o runtime/engine/packed bin/runc bin/containerd-shim-minikubelet-v1
//
// It writes <name>.zst for each, and manifest.json with their sizes and SHA-256
// sums and a hash over all of them, by which the unpacked files are found at run
// time without being read. When the manifest says that nothing has changed it
// touches nothing, so that the build need not link again.
package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"

	"github.com/klauspost/compress/zstd"
)

type manifest struct {
	Hash  string `json:"hash"`
	Files []file `json:"files"`
}

type file struct {
	Name   string `json:"name"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

func main() {
	out := flag.String("o", "", "directory to write to")
	flag.Parse()
	if *out == "" || flag.NArg() == 0 {
		fmt.Fprintln(os.Stderr, "usage: pack -o DIR EXECUTABLE...")
		os.Exit(2)
	}
	if err := pack(*out, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "pack:", err)
		os.Exit(1)
	}
}

func pack(dir string, paths []string) error {
	var m manifest
	contents := make([][]byte, len(paths))
	all := sha256.New()
	for i, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		sum := sha256.Sum256(data)
		contents[i] = data
		f := file{Name: filepath.Base(path), Size: int64(len(data)), SHA256: hex.EncodeToString(sum[:])}
		m.Files = append(m.Files, f)
		fmt.Fprintf(all, "%s %s\n", f.SHA256, f.Name)
	}
	m.Hash = hex.EncodeToString(all.Sum(nil)[:8])
	text, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	text = append(text, '\n')
	if upToDate(dir, text, m) {
		return nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	// The manifest comes last: it vouches for the blobs beside it.
	name := filepath.Join(dir, "manifest.json")
	if err := os.RemoveAll(name); err != nil {
		return err
	}
	for i, f := range m.Files {
		blob, err := compress(contents[i])
		if err != nil {
			return fmt.Errorf("%s: %w", f.Name, err)
		}
		if err := os.WriteFile(filepath.Join(dir, f.Name+".zst"), blob, 0o644); err != nil {
			return err
		}
		fmt.Printf("packed %s: %.1f MB to %.1f MB\n", f.Name, float64(f.Size)/1e6, float64(len(blob))/1e6)
	}
	return os.WriteFile(name, text, 0o644)
}

// upToDate tells whether dir holds exactly what the manifest text describes.
func upToDate(dir string, text []byte, m manifest) bool {
	have, err := os.ReadFile(filepath.Join(dir, "manifest.json"))
	if err != nil || !bytes.Equal(have, text) {
		return false
	}
	for _, f := range m.Files {
		if _, err := os.Stat(filepath.Join(dir, f.Name+".zst")); err != nil {
			return false
		}
	}
	return true
}

func compress(data []byte) ([]byte, error) {
	z, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBestCompression))
	if err != nil {
		return nil, err
	}
	return z.EncodeAll(data, nil), nil
}
