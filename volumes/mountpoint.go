// SPDX-License-Identifier: Apache-2.0

package volumes

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// isMountRoot tells whether path itself is the root of a mount (Linux 5.8).
func isMountRoot(path string) (bool, error) {
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW, unix.STATX_TYPE, &st); err != nil {
		return false, &fs.PathError{Op: "statx", Path: path, Err: err}
	}
	return st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0, nil
}

// mountOf finds the mount that path lies on. path has no symbolic links.
func mountOf(path string) (*mountinfo.Info, error) {
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW, unix.STATX_MNT_ID, &st); err != nil {
		return nil, &fs.PathError{Op: "statx", Path: path, Err: err}
	}
	infos, err := mountinfo.GetMounts(func(i *mountinfo.Info) (skip, stop bool) {
		return i.ID != int(st.Mnt_id), i.ID == int(st.Mnt_id)
	})
	if err != nil {
		return nil, err
	}
	if len(infos) == 0 {
		return nil, fmt.Errorf("%s: its mount is not in /proc/self/mountinfo", path)
	}
	return infos[0], nil
}

// unmountBelow unmounts whatever is mounted at path and below, the deepest
// first. path has no symbolic links. A mount that is in use is an error.
func unmountBelow(path string) error {
	infos, err := mountinfo.GetMounts(mountinfo.PrefixFilter(path))
	if err != nil {
		return err
	}
	slices.SortStableFunc(infos, func(a, b *mountinfo.Info) int {
		return strings.Count(b.Mountpoint, "/") - strings.Count(a.Mountpoint, "/")
	})
	// Unmounting below a shared mount would unmount the same at all its
	// peers, for example in the host directory that a container has bound
	// into the volume.
	for _, i := range infos {
		if err := setPrivate(i.Mountpoint); err != nil {
			return err
		}
	}
	for _, i := range infos {
		if err := unmount(i.Mountpoint); err != nil {
			return err
		}
	}
	return nil
}

func setPrivate(path string) error {
	return withParent(path, func(name string) error {
		err := unix.Mount("", name, "", unix.MS_PRIVATE, "")
		if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("make mount %s private: %w", path, err)
		}
		return nil
	})
}

func unmount(path string) error {
	return withParent(path, func(name string) error {
		err := unix.Unmount(name, unix.UMOUNT_NOFOLLOW)
		switch {
		case errors.Is(err, unix.EBUSY):
			return fmt.Errorf("unmount %s: %w: a process outside the pod still uses it", path, err)
		case err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT):
			// EINVAL and ENOENT: somebody else has unmounted it.
			return fmt.Errorf("unmount %s: %w", path, err)
		}
		return nil
	})
}

// withParent calls use with a name for path by way of its parent directory,
// which was reached without following a symbolic link.
func withParent(path string, use func(name string) error) error {
	fd, err := openNoLinks(filepath.Dir(path))
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return use(fdPath(fd) + "/" + filepath.Base(path))
}

func openNoLinks(dir string) (int, error) {
	fd, err := unix.Openat2(unix.AT_FDCWD, dir, &unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_NO_SYMLINKS,
	})
	if err != nil {
		return -1, &fs.PathError{Op: "open", Path: dir, Err: err}
	}
	return fd, nil
}

func fdPath(fd int) string {
	return "/proc/self/fd/" + strconv.Itoa(fd)
}
