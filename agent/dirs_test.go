// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"os"
	"path/filepath"
	"testing"
)

// TestDirectoriesCanBeEntered: the root of a Pod's user namespace gets to the Pod's
// files by way of the agent's directories.
func TestDirectoriesCanBeEntered(t *testing.T) {
	for range 10 { // whatever is made first
		top := t.TempDir()
		cfg := DefaultConfig()
		cfg.DataDir, cfg.RunDir, cfg.LogDir = filepath.Join(top, "data"), filepath.Join(top, "run"), filepath.Join(top, "log")
		t.Cleanup(func() { os.Remove(cfg.attachDir()) }) // below /run: the test's paths are too long for sockets
		a := &Agent{cfg: cfg}
		if err := a.openDirs(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := a.Close(); err != nil {
			t.Fatal(err)
		}
		for dir, want := range map[string]os.FileMode{cfg.DataDir: 0o711, cfg.RunDir: 0o711, cfg.imagesDir(): 0o700, cfg.attachDir(): 0o700} {
			if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != want {
				t.Fatalf("%s: %v, %v, want %v", dir, info.Mode(), err, want)
			}
		}
	}
}
