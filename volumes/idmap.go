// SPDX-License-Identifier: Apache-2.0

package volumes

import (
	"errors"
	"fmt"
	"io/fs"

	"golang.org/x/sys/unix"
)

// IDMappable tells whether the file system at path can be mounted such that its files
// belong to the users of the user namespace that is pinned at the other path; nil says
// that it can. As Kubernetes asks for, all volumes of a Pod with hostUsers: false are
// mounted so (mount_setattr(2); ext4, xfs, btrfs since Linux 5.12 to 5.19, tmpfs since
// 6.3). What is mounted below path is not looked at: it is not mapped.
func IDMappable(path, userNamespace string) error {
	ns, err := unix.Open(userNamespace, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &fs.PathError{Op: "open", Path: userNamespace, Err: err}
	}
	defer unix.Close(ns)
	// A mount of its own that is nowhere, and gone when it is closed.
	tree, err := unix.OpenTree(unix.AT_FDCWD, path, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_SYMLINK_NOFOLLOW)
	if err != nil {
		return &fs.PathError{Op: "open_tree", Path: path, Err: err}
	}
	defer unix.Close(tree)
	switch err := idmap(tree, ns); {
	case errors.Is(err, unix.EINVAL):
		what := "its file system"
		if info, err := mountOf(path); err == nil {
			what = info.FSType
		}
		return fmt.Errorf("%s: %s supports no idmap mounts on this kernel, which hostUsers: false needs: use another file system or hostUsers: true", path, what)
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("%s is an idmap mount already, and cannot become another one for hostUsers: false", path)
	case err != nil:
		return fmt.Errorf("%s: idmap mount for hostUsers: false: %w", path, err)
	}
	return nil
}

// TmpfsIDMappable is IDMappable of a tmpfs, which volumes in memory are.
func TmpfsIDMappable(userNamespace string) error {
	ns, err := unix.Open(userNamespace, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &fs.PathError{Op: "open", Path: userNamespace, Err: err}
	}
	defer unix.Close(ns)
	made, err := unix.Fsopen("tmpfs", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return fmt.Errorf("tmpfs: fsopen: %w", err)
	}
	defer unix.Close(made)
	if err := unix.FsconfigCreate(made); err != nil {
		return fmt.Errorf("tmpfs: fsconfig: %w", err)
	}
	tree, err := unix.Fsmount(made, unix.FSMOUNT_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("tmpfs: fsmount: %w", err)
	}
	defer unix.Close(tree)
	if err := idmap(tree, ns); err != nil {
		return fmt.Errorf("tmpfs supports no idmap mounts on this kernel, use Linux 6.3 or later: %w", err)
	}
	return nil
}

// idmap has a mount that is attached nowhere show the owners of its files as those of a
// user namespace.
func idmap(tree, ns int) error {
	return unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_IDMAP, Userns_fd: uint64(ns)})
}
