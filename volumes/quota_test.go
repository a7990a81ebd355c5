// SPDX-License-Identifier: Apache-2.0

package volumes

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// withQuotas is a file system of the test's own that has project quotas, or one that is
// there already.
func withQuotas(t *testing.T) string {
	t.Helper()
	needRoot(t)
	if at := os.Getenv("MINIKUBELET_TEST_QUOTA"); at != "" {
		return mkdir(t, filepath.Join(at, t.Name()))
	}
	image, at := filepath.Join(t.TempDir(), "image"), t.TempDir()
	f, err := os.Create(image)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Truncate(64<<20), f.Close()); err != nil {
		t.Fatal(err)
	}
	for _, c := range [][]string{
		{"mkfs.ext4", "-q", "-O", "quota,project", "-E", "quotatype=prjquota", image},
		{"mount", "-o", "loop,prjquota", image, at},
	} {
		if out, err := exec.Command(c[0], c[1:]...).CombinedOutput(); err != nil {
			t.Skipf("needs loop devices and an ext4 with project quotas: %v: %v %s", c, err, out)
		}
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", at).CombinedOutput(); err != nil {
			t.Errorf("umount: %v %s", err, out)
		}
	})
	return at
}

// fill writes so many MiB as a user: the kernel bounds nobody who has CAP_SYS_RESOURCE,
// which root in a container has not.
func fill(path string, size int) error {
	cmd := exec.Command("dd", "if=/dev/zero", "of="+path, "bs=1M", fmt.Sprint("count=", size))
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 1000, Gid: 1000}}
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

func TestBoundIsKept(t *testing.T) {
	at := withQuotas(t)
	dir, other := mkdir(t, filepath.Join(at, "a")), mkdir(t, filepath.Join(at, "b"))
	for _, d := range []string{dir, other} {
		if err := errors.Join(os.Chmod(d, 0o777), Bound(d, 2<<20)); err != nil {
			t.Fatal(err)
		}
	}
	below := mkdir(t, filepath.Join(dir, "deep/down"))
	if err := os.Chmod(below, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := fill(filepath.Join(below, "fits"), 1); err != nil {
		t.Fatal(err)
	}
	if err := fill(filepath.Join(dir, "large"), 2); err == nil || !strings.Contains(err.Error(), "quota exceeded") && !strings.Contains(err.Error(), "No space left") {
		t.Errorf("more than may be: %v", err)
	}
	if err := fill(filepath.Join(other, "fits"), 1); err != nil {
		t.Errorf("the other one's: %v", err)
	}
	if err := Bound(dir, 8<<20); err != nil {
		t.Fatal(err)
	}
	if err := fill(filepath.Join(dir, "large"), 4); err != nil {
		t.Errorf("after it has grown: %v", err)
	}
	if err := Bound(dir, 0); err != nil {
		t.Fatal(err)
	}
	if err := fill(filepath.Join(dir, "large"), 16); err != nil {
		t.Errorf("without a bound: %v", err)
	}
}

func TestBoundNeedsAnEmptyDirectory(t *testing.T) {
	at := withQuotas(t)
	write(t, filepath.Join(mkdir(t, filepath.Join(at, "old")), "f"), "x")
	if err := Bound(filepath.Join(at, "old"), 1<<20); !errors.Is(err, ErrNoQuota) {
		t.Errorf("a directory with files: %v", err)
	}
}

func TestNoQuotaIsToldApart(t *testing.T) {
	needRoot(t)
	at := t.TempDir()
	if err := unix.Mount("tmpfs", at, "tmpfs", 0, "size=1m"); err != nil {
		t.Fatal(err)
	}
	defer unix.Unmount(at, 0)
	if err := Bound(mkdir(t, filepath.Join(at, "d")), 1<<20); !errors.Is(err, ErrNoQuota) {
		t.Errorf("tmpfs: %v", err)
	}
	if err := Bound(filepath.Join(at, "none"), 1<<20); err == nil || errors.Is(err, ErrNoQuota) {
		t.Errorf("what is not there: %v", err)
	}
}
