// SPDX-License-Identifier: Apache-2.0

package volumes

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestReadFile reads what is in the volume and nothing else, whatever a container
// has put there.
func TestReadFile(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "outside")
	write(t, outside, "secret of the host")
	vol := Volume{Path: mkdir(t, filepath.Join(t.TempDir(), "v"))}
	write(t, filepath.Join(mkdir(t, filepath.Join(vol.Path, "d")), "f"), "fine")
	for name, to := range map[string]string{"good": "d/f", "rooted": "/d/f", "bad": outside, "up": "../../../../../../../../.." + outside, "magic": "/proc/self/root" + outside} {
		if err := os.Symlink(to, filepath.Join(vol.Path, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Mkfifo(filepath.Join(vol.Path, "fifo"), 0o666); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"d/f": "fine", "good": "fine", "rooted": "fine",
		"bad": "error", "up": "error", "magic": "error", "fifo": "error", "d": "error", "no": "error", "../x": "error", outside: "error",
	} {
		data, err := ReadFile(vol, path, 100)
		got := string(data)
		if err != nil {
			got = "error"
		}
		if got != want {
			t.Errorf("%s: %q (%v), want %q", path, got, err, want)
		}
	}
	if _, err := ReadFile(vol, "d/f", 3); err == nil {
		t.Error("the limit does not hold")
	}
}
