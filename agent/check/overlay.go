// SPDX-License-Identifier: Apache-2.0

package check

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"golang.org/x/sys/unix"
)

// overlay mounts an overlay file system where the images will be unpacked, and
// removes a file through it, which takes all that layers need of the file system.
func overlay(dir string) Result {
	r := Result{Level: OK, Name: "overlayfs", Found: "works on " + existing(dir)}
	if err := tryOverlay(existing(dir)); err != nil {
		r.Level, r.Found = Fail, err.Error()
		r.Consequence = "containers get no root file system from their images"
		r.Remedy = "run as root, with a kernel with CONFIG_OVERLAY_FS (modprobe overlay) and the data directory on ext4, xfs (ftype=1) or btrfs; overlayfs on overlayfs, as in a container, does not work: mount a volume there"
	}
	return r
}

// tryOverlay works in a temporary directory in dir and in a mount namespace of its
// own, which ends with the thread: whatever happens, nothing stays mounted.
func tryOverlay(dir string) (err error) {
	tmp, err := os.MkdirTemp(dir, ".minikubelet-check-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(tmp)) }()
	for _, name := range []string{"lower", "upper", "work", "merged"} {
		if err := os.Mkdir(filepath.Join(tmp, name), 0o700); err != nil {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(tmp, "lower", "file"), nil, 0o600); err != nil {
		return err
	}
	return onOwnThread(func() error { return mountOverlay(tmp) })
}

// onOwnThread runs fn on a thread that ends afterwards. The process' first thread
// cannot end: when fn would land there, that thread is held until fn ran elsewhere.
func onOwnThread(fn func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			done <- onOwnThread(fn)
			runtime.UnlockOSThread()
			return
		}
		done <- fn() // never unlocked: the thread ends with this goroutine
	}()
	return <-done
}

func mountOverlay(tmp string) error {
	if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("make a mount namespace: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	// Relative paths: the directory's name may contain what separates options.
	if err := unix.Chdir(tmp); err != nil {
		return err
	}
	if err := unix.Mount("overlay", "merged", "overlay", 0, "lowerdir=lower,upperdir=upper,workdir=work"); err != nil {
		return fmt.Errorf("mount an overlay in %s: %w", filepath.Dir(tmp), err)
	}
	err := unix.Unlink("merged/file")
	var st unix.Stat_t
	if err == nil {
		if gone := unix.Lstat("merged/file", &st); !errors.Is(gone, fs.ErrNotExist) {
			err = errors.New("a removed file is still there")
		}
	}
	if err != nil {
		err = fmt.Errorf("remove a file through an overlay: %w", err)
	}
	return errors.Join(err, unix.Unmount("merged", 0))
}
