// SPDX-License-Identifier: Apache-2.0

package volumes

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// maxOpenDepth bounds how many directories are open at a time while a tree is
// removed. A container may nest deeper than we may open files.
const maxOpenDepth = 32

// Remove removes a persistent volume's directory with what is mounted there. It is no
// error when there is nothing; path has no symbolic links.
func Remove(ctx context.Context, path string) error { return removeAll(ctx, path) }

// removeAll unmounts what is mounted at path and below and removes the tree.
// It is no error when there is nothing.
func removeAll(ctx context.Context, path string) error {
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return nil // nor is anything mounted there
	}
	if err := unmountBelow(path); err != nil {
		return err
	}
	parent, err := openNoLinks(filepath.Dir(path))
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(parent)
	r := remover{ctx: ctx}
	return r.entry(parent, filepath.Base(path), path)
}

// remover removes one tree, by way of open directories so that nobody can
// lead it elsewhere by replacing a directory with a link.
type remover struct {
	ctx   context.Context
	stack []int // open directories, from the tree's root to the current one
	moved int   // directories moved up to the root
}

// entry removes name in the directory parent; path is for messages.
func (r *remover) entry(parent int, name, path string) error {
	err := unix.Unlinkat(parent, name, 0)
	if err == nil || errors.Is(err, unix.ENOENT) {
		return nil
	}
	if !errors.Is(err, unix.EISDIR) {
		return r.failed(path, err)
	}
	if len(r.stack) == maxOpenDepth {
		return r.moveUp(parent, name, path)
	}
	fd, err := unix.Openat2(parent, name, &unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_XDEV | unix.RESOLVE_NO_SYMLINKS,
	})
	if err != nil {
		return r.failed(path, err)
	}
	dir := os.NewFile(uintptr(fd), path)
	defer dir.Close()
	r.stack = append(r.stack, fd)
	err = r.contents(dir, path)
	r.stack = r.stack[:len(r.stack)-1]
	if err != nil {
		return err
	}
	if err := unix.Unlinkat(parent, name, unix.AT_REMOVEDIR); err != nil && !errors.Is(err, unix.ENOENT) {
		return r.failed(path, err)
	}
	return nil
}

// contents empties a directory. It goes on after an error and returns the
// first one.
func (r *remover) contents(dir *os.File, path string) error {
	for {
		names, err := firstNames(dir)
		if err != nil {
			return err
		}
		if len(names) == 0 {
			return nil
		}
		var firstErr error
		for _, name := range names {
			if err := r.ctx.Err(); err != nil {
				return err
			}
			if err := r.entry(int(dir.Fd()), name, filepath.Join(path, name)); err != nil && firstErr == nil {
				firstErr = err
			}
		}
		if firstErr != nil {
			return firstErr
		}
	}
}

// firstNames reads from the beginning: entries that were there are gone by
// the second time.
func firstNames(dir *os.File) ([]string, error) {
	if _, err := dir.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	names, err := dir.Readdirnames(1024)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return names, err
}

// moveUp moves a directory into the tree's root, where it is found again when
// the root is read the next time.
func (r *remover) moveUp(parent int, name, path string) error {
	for {
		r.moved++
		to := fmt.Sprintf(".removing-%d", r.moved)
		err := unix.Renameat2(parent, name, r.stack[0], to, unix.RENAME_NOREPLACE)
		if errors.Is(err, unix.EEXIST) {
			continue
		}
		if err != nil {
			return r.failed(path, err)
		}
		return nil
	}
}

func (r *remover) failed(path string, err error) error {
	switch {
	case errors.Is(err, unix.EXDEV), errors.Is(err, unix.EBUSY):
		return fmt.Errorf("remove %s: something is mounted there: %w", path, err)
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("remove %s: %w: it may have the attribute immutable or append-only, see chattr(1)", path, err)
	}
	return &fs.PathError{Op: "remove", Path: path, Err: err}
}
