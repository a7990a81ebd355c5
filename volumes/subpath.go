// SPDX-License-Identifier: Apache-2.0

package volumes

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// pinSubPath binds the file or directory at subPath in the volume to target,
// so that the container gets exactly what was checked here. Missing
// directories are made with the mode of the volume's root, as the kubelet
// does, so that whoever may write to the volume may write to them.
func pinSubPath(ctx context.Context, vol Volume, subPath, target string) error {
	if vol.File {
		return fmt.Errorf("%s is not a directory", vol.Path)
	}
	if filepath.IsAbs(subPath) || slices.Contains(strings.Split(subPath, "/"), "..") || strings.ContainsRune(subPath, 0) {
		return fmt.Errorf("%q must be a relative path without '..'", subPath)
	}
	root, err := openNoLinks(vol.Path)
	if err != nil {
		return err
	}
	defer unix.Close(root)
	fd, err := openSubPath(root, filepath.Clean(subPath))
	if err != nil {
		return fmt.Errorf("%q: %w", subPath, err)
	}
	defer unix.Close(fd)
	return pin(ctx, fd, target)
}

// openSubPath opens path below root and makes the directories that it lacks.
// Symbolic links are followed as long as they stay below root.
func openSubPath(root int, path string) (int, error) {
	fd, err := openBeneath(root, path)
	if !errors.Is(err, unix.ENOENT) {
		return fd, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(root, &st); err != nil {
		return -1, err
	}
	current := ""
	for _, name := range strings.Split(path, "/") {
		parent, err := openBeneath(root, filepath.Join(".", current))
		if err != nil {
			return -1, err
		}
		err = makeIn(parent, name, st.Mode&0o777)
		unix.Close(parent)
		if err != nil {
			return -1, err
		}
		current = filepath.Join(current, name)
	}
	return openBeneath(root, path)
}

// makeIn makes a directory with exactly the given permissions unless the name
// exists.
func makeIn(parent int, name string, mode uint32) error {
	err := unix.Mkdirat(parent, name, mode)
	if errors.Is(err, unix.EEXIST) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("make directory %s: %w", name, err)
	}
	// The umask does not count; a group inherited from the parent does.
	fd, err := unix.Openat(parent, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	return unix.Fchmod(fd, mode|st.Mode&unix.S_ISGID)
}

func openBeneath(root int, path string) (int, error) {
	const tries = 8
	for try := 0; ; try++ {
		fd, err := unix.Openat2(root, path, &unix.OpenHow{
			Flags:   unix.O_PATH | unix.O_CLOEXEC,
			Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS,
		})
		switch {
		case err == nil:
			return fd, nil
		case errors.Is(err, unix.EAGAIN) && try < tries:
			// A rename somewhere made the kernel unsure of "..".
		case errors.Is(err, unix.EXDEV):
			return -1, fmt.Errorf("leads out of the volume: %w", err)
		default:
			return -1, err
		}
	}
}

// pin binds what fd refers to at target. A pin of the same thing is kept, one
// of something else (the sub-path was replaced since the container's last
// attempt) is replaced.
func pin(ctx context.Context, fd int, target string) error {
	var want, have unix.Stat_t
	if err := unix.Fstat(fd, &want); err != nil {
		return err
	}
	if mounted, err := isMountRoot(target); err == nil && mounted {
		if err := unix.Lstat(target, &have); err == nil && have.Dev == want.Dev && have.Ino == want.Ino {
			return nil
		}
	}
	if err := removeAll(ctx, target); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(target), privateMode); err != nil {
		return err
	}
	if err := makeTarget(target, want.Mode&unix.S_IFMT == unix.S_IFDIR); err != nil {
		return err
	}
	// Not recursive: what is mounted in the volume belongs to somebody else.
	if err := unix.Mount(fdPath(fd), target, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("bind at %s: %w", target, err)
	}
	// A slave sees the host's later mounts; unmounting it does not reach them.
	if err := unix.Mount("", target, "", unix.MS_SLAVE, ""); err != nil {
		return fmt.Errorf("make mount %s a slave: %w", target, err)
	}
	return nil
}

func makeTarget(target string, dir bool) error {
	if dir {
		return os.Mkdir(target, privateMode)
	}
	f, err := os.OpenFile(target, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o640)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return f.Close()
}
