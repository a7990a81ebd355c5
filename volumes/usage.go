// SPDX-License-Identifier: Apache-2.0

package volumes

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"syscall"
)

// Usage is what a volume's contents take: bytes, and inodes of its file system.
type Usage struct{ Bytes, Inodes int64 }

// diskUsage sums the blocks of a tree, as du does: a file with several links
// counts once, other file systems do not count.
func diskUsage(ctx context.Context, root string) (Usage, error) {
	type inode struct{ dev, ino uint64 }
	var (
		total  Usage
		device uint64
		linked = map[inode]bool{}
	)
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if errors.Is(err, fs.ErrNotExist) && path != root {
			return nil // removed while we walk
		}
		if err != nil {
			return err
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		st := info.Sys().(*syscall.Stat_t)
		if path == root {
			device = st.Dev
		}
		if st.Dev != device {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if st.Nlink > 1 && !d.IsDir() {
			id := inode{st.Dev, st.Ino}
			if linked[id] {
				return nil
			}
			linked[id] = true
		}
		total.Bytes += st.Blocks * 512
		total.Inodes++
		return nil
	})
	return total, err
}
