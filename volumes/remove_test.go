// SPDX-License-Identifier: Apache-2.0

package volumes

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// Deeper than PATH_MAX allows a path to be, and than we want files open.
func TestRemoveDeepTree(t *testing.T) {
	dir := t.TempDir()
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 2200 {
		name := "d"
		if i == 0 {
			name = "tree"
		}
		if i == 1 {
			// A name that moving directories up would like to use.
			unix.Mkdirat(fd, ".removing-1", 0o700)
		}
		if err := unix.Mkdirat(fd, name, 0o700); err != nil {
			t.Fatal(err)
		}
		next, err := unix.Openat(fd, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		unix.Close(fd)
		fd = next
	}
	unix.Close(fd)
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	low := unix.Rlimit{Cur: 256, Max: limit.Max}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &low); err != nil {
		t.Fatal(err)
	}
	err = removeAll(context.Background(), filepath.Join(dir, "tree"))
	unix.Setrlimit(unix.RLIMIT_NOFILE, &limit)
	if err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

func TestRemoveManyFiles(t *testing.T) {
	dir := mkdir(t, filepath.Join(t.TempDir(), "tree"))
	for i := range 5000 {
		write(t, filepath.Join(dir, fmt.Sprint(i)), "")
	}
	if err := removeAll(context.Background(), dir); err != nil || exists(dir) {
		t.Errorf("%v, still there: %v", err, exists(dir))
	}
}

// The remover itself refuses mounts, also those that appear after the
// unmounting: a bind of the same file system, and a file.
func TestRemoverRefusesMounts(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	victim := mkdir(t, filepath.Join(dir, "victim"))
	write(t, filepath.Join(victim, "f"), "precious")
	tree := mkdir(t, filepath.Join(dir, "tree"))
	bind(t, victim, mkdir(t, filepath.Join(tree, "a/mnt")))
	write(t, filepath.Join(tree, "file"), "")
	bind(t, filepath.Join(victim, "f"), filepath.Join(tree, "file"))
	mkdir(t, filepath.Join(tree, "other"))

	parent, err := openNoLinks(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(parent)
	r := remover{ctx: context.Background()}
	err = r.entry(parent, "tree", tree)
	wantError(t, err, "something is mounted there")
	if read(t, filepath.Join(victim, "f")) != "precious" || !exists(filepath.Join(tree, "a/mnt")) {
		t.Error("removed through a mount")
	}
	if exists(filepath.Join(tree, "other")) {
		t.Error("did not remove what it could")
	}
}

// Unmounting in a volume leaves alone what is mounted at the place that was
// bound there.
func TestUnmountDoesNotPropagate(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	origin := mkdir(t, filepath.Join(dir, "origin"))
	if err := unix.Mount("tmpfs", origin, "tmpfs", 0, "size=64k"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(origin, unix.MNT_DETACH) })
	if err := unix.Mount("", origin, "", unix.MS_SHARED, ""); err != nil {
		t.Fatal(err)
	}
	volume := mkdir(t, filepath.Join(dir, "volume"))
	inner := mkdir(t, filepath.Join(origin, "inner"))
	bind(t, origin, mkdir(t, filepath.Join(volume, "copy")))
	if err := unix.Mount("tmpfs", inner, "tmpfs", 0, "size=64k"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(inner, unix.MNT_DETACH) })
	if n := len(mountsBelow(t, volume)); n != 2 {
		t.Fatalf("%d mounts in the volume, want the copy and what propagated", n)
	}
	if err := removeAll(context.Background(), volume); err != nil {
		t.Fatal(err)
	}
	if n := len(mountsBelow(t, origin)); n != 2 {
		t.Errorf("%d mounts left at the origin, want 2", n)
	}
}

func TestRemoveImmutable(t *testing.T) {
	needRoot(t)
	tree := mkdir(t, filepath.Join(t.TempDir(), "tree"))
	file := filepath.Join(tree, "f")
	write(t, file, "")
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if err := unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, unix.STATX_ATTR_IMMUTABLE); err != nil {
		t.Skipf("the file system has no immutable files: %v", err)
	}
	t.Cleanup(func() { unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, 0) })
	wantError(t, removeAll(context.Background(), tree), file, "chattr")
}
