// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// pack makes a packed set of files, as hack/pack does.
func pack(t *testing.T, hash string, files map[string]string) *packed {
	t.Helper()
	z, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	m := packed{Hash: hash}
	for name, content := range files {
		sum := sha256.Sum256([]byte(content))
		m.Files = append(m.Files, packedFile{Name: name, Size: int64(len(content)), SHA256: hex.EncodeToString(sum[:])})
	}
	text, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	p, err := parsePacked(text, func(name string) ([]byte, error) {
		content, ok := files[name]
		if !ok {
			return nil, os.ErrNotExist
		}
		return z.EncodeAll([]byte(content), nil), nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

var twoFiles = map[string]string{RuncName: "#!/bin/sh\necho runc\n", ShimName: "#!/bin/sh\necho shim\n"}

func TestUnpack(t *testing.T) {
	bin := filepath.Join(t.TempDir(), "bin")
	p := pack(t, "abc", twoFiles)
	paths, err := p.unpack(bin)
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{paths.Runc: "runc\n", paths.Shim: "shim\n"} {
		out, err := exec.Command(path).Output()
		if err != nil || string(out) != want {
			t.Errorf("%s: %q, %v", path, out, err)
		}
	}
	// The second time nothing is written.
	p.open = func(string) ([]byte, error) { return nil, errors.New("unpacked again") }
	if _, err := p.unpack(bin); err != nil {
		t.Error(err)
	}
}

// Whatever a crash left, the next start has complete files.
func TestUnpackAfterCrash(t *testing.T) {
	for name, spoil := range map[string]func(t *testing.T, bin string) error{
		"half a file": func(t *testing.T, bin string) error {
			return os.Truncate(filepath.Join(bin, "abc", RuncName), 3)
		},
		"a file missing": func(t *testing.T, bin string) error {
			return os.Remove(filepath.Join(bin, "abc", ShimName))
		},
		"not executable": func(t *testing.T, bin string) error {
			return os.Chmod(filepath.Join(bin, "abc", ShimName), 0o644)
		},
		"a partial directory": func(t *testing.T, bin string) error {
			return errors.Join(os.RemoveAll(filepath.Join(bin, "abc")), os.Mkdir(filepath.Join(bin, partial+"1"), 0o755))
		},
	} {
		t.Run(name, func(t *testing.T) {
			bin := filepath.Join(t.TempDir(), "bin")
			p := pack(t, "abc", twoFiles)
			if _, err := p.unpack(bin); err != nil {
				t.Fatal(err)
			}
			if err := spoil(t, bin); err != nil {
				t.Fatal(err)
			}
			if _, err := p.unpack(bin); err != nil {
				t.Fatal(err)
			}
			if !p.complete(filepath.Join(bin, "abc")) {
				t.Error("incomplete")
			}
			if entries, _ := os.ReadDir(bin); len(entries) != 1 {
				t.Errorf("left over: %v", entries)
			}
		})
	}
}

func TestUnpackRefusesDamage(t *testing.T) {
	bin := filepath.Join(t.TempDir(), "bin")
	p := pack(t, "abc", twoFiles)
	p.Files[1].SHA256 = strings.Repeat("0", 64)
	if _, err := p.unpack(bin); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("error %v, want one about damage", err)
	}
	if entries, _ := os.ReadDir(bin); len(entries) != 0 {
		t.Errorf("left over: %v", entries)
	}
}

func TestPruneKeepsWhatIsUsed(t *testing.T) {
	data, state := t.TempDir(), t.TempDir()
	bin := filepath.Join(data, "bin")
	sleep, err := os.ReadFile("/bin/sleep")
	if err != nil {
		t.Skip("needs /bin/sleep")
	}
	all := map[string]string{RuncName: string(sleep), ShimName: "shim"}
	for _, hash := range []string{"old", "running", "bundled", "new"} {
		if _, err := pack(t, hash, all).unpack(bin); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(filepath.Join(bin, "running", RuncName), "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	bundle := filepath.Join(state, taskPlugin, "ns", "id")
	if err := os.MkdirAll(bundle, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(bundle, "shim-binary-path"), []byte(filepath.Join(bin, "bundled", ShimName)), 0o600); err != nil {
		t.Fatal(err)
	}
	keep := Paths{Runc: filepath.Join(bin, "new", RuncName), Shim: filepath.Join(bin, "new", ShimName)}
	if err := Prune(data, state, keep); err != nil {
		t.Fatal(err)
	}
	for hash, want := range map[string]bool{"old": false, "running": true, "bundled": true, "new": true} {
		_, err := os.Stat(filepath.Join(bin, hash))
		if got := err == nil; got != want {
			t.Errorf("%s kept: %v, want %v", hash, got, want)
		}
	}
}

func TestLookUp(t *testing.T) {
	dir := t.TempDir()
	none := func(string) (string, error) { return "", exec.ErrNotFound }
	_, err := lookUp(dir, none)
	if err == nil || !strings.Contains(err.Error(), RuncName) || !strings.Contains(err.Error(), ShimName) ||
		!strings.Contains(err.Error(), "make build") {
		t.Errorf("error %v: want both names and what to do", err)
	}
	for _, name := range []string{RuncName, ShimName} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("x"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	got, err := lookUp(dir, none)
	if want := (Paths{Runc: filepath.Join(dir, RuncName), Shim: filepath.Join(dir, ShimName)}); err != nil || got != want {
		t.Errorf("lookUp = %v, %v, want %v", got, err, want)
	}
	if err := os.Chmod(filepath.Join(dir, RuncName), 0o644); err != nil {
		t.Fatal(err)
	}
	got, err = lookUp(dir, func(name string) (string, error) { return "/usr/sbin/" + name, nil })
	if err != nil || got.Runc != "/usr/sbin/runc" {
		t.Errorf("a file that cannot be executed was taken: %v, %v", got, err)
	}
}
