// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// packed is what hack/pack made at build time: executables, each a zstd blob.
type packed struct {
	Hash  string       `json:"hash"` // of all files; names the directory they go to
	Files []packedFile `json:"files"`
	open  func(name string) ([]byte, error)
}

type packedFile struct {
	Name   string `json:"name"`
	Size   int64  `json:"size"`   // bytes, unpacked
	SHA256 string `json:"sha256"` // hexadecimal, of the unpacked file
}

// parsePacked reads the manifest that hack/pack wrote.
func parsePacked(manifest []byte, open func(string) ([]byte, error)) (*packed, error) {
	p := &packed{open: open}
	if err := json.Unmarshal(manifest, p); err != nil {
		return nil, fmt.Errorf("manifest of the packed executables: %w", err)
	}
	if p.Hash == "" || len(p.Files) == 0 {
		return nil, fmt.Errorf("manifest of the packed executables names no files")
	}
	return p, nil
}

// partial is the prefix of a directory that is being filled.
const partial = ".partial-"

// unpack makes bin/<hash> with all files in it, unless it is there. The
// directory gets its name when its files are complete and on disk, so that one
// with that name is whole whatever happened; afterwards only sizes are compared,
// since hashing takes 41 ms at each start. What a crash left half-made goes.
func (p *packed) unpack(bin string) (Paths, error) {
	dir := filepath.Join(bin, p.Hash)
	paths := Paths{Runc: filepath.Join(dir, RuncName), Shim: filepath.Join(dir, ShimName)}
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return Paths{}, fmt.Errorf("unpack executables: %w", err)
	}
	if err := mayExec(bin); err != nil {
		return Paths{}, err
	}
	if p.complete(dir) {
		return paths, nil
	}
	if err := p.fill(bin, dir); err != nil {
		return Paths{}, fmt.Errorf("unpack executables into %s: %w", bin, err)
	}
	return paths, nil
}

// complete tells whether dir has every file in its full size.
func (p *packed) complete(dir string) bool {
	for _, f := range p.Files {
		info, err := os.Stat(filepath.Join(dir, f.Name))
		if err != nil || info.Size() != f.Size || info.Mode()&0o111 == 0 {
			return false
		}
	}
	return true
}

func (p *packed) fill(bin, dir string) error {
	left, err := filepath.Glob(filepath.Join(bin, partial+"*"))
	if err != nil {
		return err
	}
	for _, path := range append(left, dir) {
		if err := os.RemoveAll(path); err != nil {
			return err
		}
	}
	tmp, err := os.MkdirTemp(bin, partial)
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	if err := os.Chmod(tmp, 0o755); err != nil {
		return err
	}
	for _, f := range p.Files {
		if err := p.extract(f, filepath.Join(tmp, f.Name)); err != nil {
			return fmt.Errorf("%s: %w", f.Name, err)
		}
	}
	for _, step := range []func() error{
		func() error { return syncDir(tmp) },
		func() error { return os.Rename(tmp, dir) },
		func() error { return syncDir(bin) },
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// extract writes one executable to path and checks it against the manifest.
func (p *packed) extract(f packedFile, path string) (err error) {
	if f.Name != filepath.Base(f.Name) || strings.HasPrefix(f.Name, ".") {
		return fmt.Errorf("not a file name")
	}
	blob, err := p.open(f.Name)
	if err != nil {
		return err
	}
	z, err := zstd.NewReader(bytes.NewReader(blob), zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true))
	if err != nil {
		return err
	}
	defer z.Close()
	out, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o755)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := out.Close(); err == nil {
			err = cerr
		}
	}()
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(out, sum), z)
	if err != nil {
		return err
	}
	if got := hex.EncodeToString(sum.Sum(nil)); n != f.Size || got != f.SHA256 {
		return fmt.Errorf("packed file is damaged: %d bytes with SHA-256 %s, want %d with %s", n, got, f.Size, f.SHA256)
	}
	// The umask may have taken bits away.
	if err := out.Chmod(0o755); err != nil {
		return err
	}
	return out.Sync()
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
