// SPDX-License-Identifier: Apache-2.0

package volumes

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
)

// tmpfsSize is the smaller of the sizeLimit and the Pod's memory limit, in
// bytes; 0 leaves it to the kernel, which takes half of the memory.
func tmpfsSize(pod Pod, e *corev1.EmptyDirVolumeSource) int64 {
	size := pod.MemoryLimit
	if e.SizeLimit != nil {
		if limit := e.SizeLimit.Value(); limit > 0 && (size <= 0 || limit < size) {
			size = limit
		}
	}
	return max(size, 0)
}

// setUpTmpfs mounts a tmpfs at path unless there is one.
func setUpTmpfs(path string, size int64, group *int64) error {
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	mounted, err := isMountOf(path, unix.TMPFS_MAGIC)
	if err != nil || mounted {
		return err
	}
	options := rootOptions(group)
	if size > 0 {
		options += fmt.Sprintf(",size=%d", size)
	}
	return mountTmpfs(path, options, true)
}

// mountTmpfs mounts a tmpfs. The pages of a private one are kept from swap where the
// kernel can do that (6.4 and later).
func mountTmpfs(path, options string, private bool) error {
	err := error(unix.EINVAL)
	if private {
		err = unix.Mount("tmpfs", path, "tmpfs", 0, options+",noswap")
	}
	if errors.Is(err, unix.EINVAL) {
		err = unix.Mount("tmpfs", path, "tmpfs", 0, options)
	}
	if err != nil {
		return fmt.Errorf("mount tmpfs at %s (%s): %w", path, options, err)
	}
	return nil
}

// rootOptions are those by which everybody may write to a file system in memory, and
// its files belong to the group.
func rootOptions(group *int64) string {
	if group != nil {
		return fmt.Sprintf("mode=02777,gid=%d", *group)
	}
	return "mode=0777"
}

// isMountOf tells whether a file system of that kind is mounted at path.
func isMountOf(path string, magic int64) (bool, error) {
	root, err := isMountRoot(path)
	if err != nil || !root {
		return false, err
	}
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return false, &fs.PathError{Op: "statfs", Path: path, Err: err}
	}
	return int64(st.Type) == magic, nil
}

func tmpfsUsage(path string) (Usage, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return Usage{}, &fs.PathError{Op: "statfs", Path: path, Err: err}
	}
	return Usage{Bytes: int64(st.Blocks-st.Bfree) * st.Bsize, Inodes: int64(st.Files - st.Ffree)}, nil
}
