// SPDX-License-Identifier: Apache-2.0

package volumes

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"syscall"
)

// What the kubelet adds to the modes of a volume that it gives to a group.
const (
	groupFile = 0o660
	groupDir  = 0o770
)

// giveToGroup gives a tree to a group, with the rights to read and write it, and has
// new files belong to the group too. With onRootMismatch a tree whose top is right is
// left as it is. Containers may write in the tree meanwhile: no symbolic link is
// followed out of it.
func giveToGroup(ctx context.Context, dir string, gid int, onRootMismatch bool) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	if top, err := root.Stat("."); err != nil || onRootMismatch && groupHas(top, gid) {
		return err
	}
	top := true
	return fs.WalkDir(root.FS(), ".", func(path string, _ fs.DirEntry, err error) error {
		if err == nil {
			err = ctx.Err()
		}
		if err == nil {
			err = giveFile(root, path, gid)
		}
		if errors.Is(err, fs.ErrNotExist) && !top { // removed meanwhile
			return nil
		}
		top = false
		return err
	})
}

func giveFile(root *os.Root, path string, gid int) error {
	info, err := root.Lstat(path)
	if err != nil {
		return err
	}
	if err := root.Lchown(path, -1, gid); err != nil {
		return err
	}
	if info.Mode()&fs.ModeSymlink != 0 {
		return nil
	}
	mode := info.Mode()&(fs.ModePerm|fs.ModeSetuid|fs.ModeSetgid|fs.ModeSticky) | groupFile
	if info.IsDir() {
		mode |= groupDir | fs.ModeSetgid
	}
	return root.Chmod(path, mode)
}

func groupHas(info fs.FileInfo, gid int) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(st.Gid) == gid && info.Mode()&groupDir == groupDir && info.Mode()&fs.ModeSetgid != 0
}
