// SPDX-License-Identifier: Apache-2.0

package volumes

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
)

// newSuffix marks a directory that is being made. No volume name has a tilde.
const newSuffix = "~new"

// emptyDir is a directory that lives as long as the Pod, open to all of its
// containers: on disk, a tmpfs of its own with medium Memory, or a hugetlbfs. On disk the
// sizeLimit is not enforced by the kernel; Usage is there to watch it.
type emptyDir struct{}

func (emptyDir) source() string { return "emptyDir" }
func (emptyDir) dir() string    { return "kubernetes.io~empty-dir" }

func (e emptyDir) path(pod Pod, name string) string {
	return filepath.Join(pod.Dir, volumesDir, e.dir(), name)
}

func (emptyDir) check(v corev1.Volume) error {
	if v.EmptyDir == nil {
		return nil
	}
	switch m := v.EmptyDir.Medium; {
	case m == corev1.StorageMediumDefault, m == corev1.StorageMediumMemory, isHugePages(m):
		return nil
	default:
		return fmt.Errorf(".medium: %q is unknown", m)
	}
}

func (e emptyDir) preview(pod Pod, v corev1.Volume) (Volume, error) {
	return Volume{Path: e.path(pod, v.Name)}, nil
}

func (e emptyDir) setUp(_ context.Context, pod Pod, v corev1.Volume) (Volume, error) {
	path := e.path(pod, v.Name)
	if err := os.MkdirAll(filepath.Dir(path), privateMode); err != nil {
		return Volume{}, err
	}
	var err error
	switch e := v.EmptyDir; {
	case e != nil && e.Medium == corev1.StorageMediumMemory:
		err = setUpTmpfs(path, tmpfsSize(pod, e), pod.FSGroup)
	case e != nil && isHugePages(e.Medium):
		var page, limit int64
		if page, err = pageSize(pod, e.Medium); err != nil {
			return Volume{}, err
		}
		if e.SizeLimit != nil {
			limit = e.SizeLimit.Value()
		}
		err = setUpHugePages(path, page, limit, pod.FSGroup)
	default:
		err = setUpDir(path, pod.FSGroup)
	}
	if err != nil {
		return Volume{}, err
	}
	return Volume{Path: path}, nil
}

// setUpDir makes the directory under another name and renames it when it is
// complete, so that one that exists needs nothing: its mode may have been
// changed by a container since.
func setUpDir(path string, group *int64) error {
	info, err := os.Lstat(path)
	if err == nil {
		if !info.IsDir() {
			return fmt.Errorf("%s is not a directory", path)
		}
		return nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	tmp := path + newSuffix
	if err := os.Mkdir(tmp, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	mode := uint32(0o777)
	if group != nil {
		if err := os.Lchown(tmp, -1, int(*group)); err != nil {
			return err
		}
		mode |= unix.S_ISGID
	}
	if err := unix.Chmod(tmp, mode); err != nil {
		return &fs.PathError{Op: "chmod", Path: tmp, Err: err}
	}
	return os.Rename(tmp, path)
}

func (e emptyDir) tearDown(ctx context.Context, pod Pod, name string) error {
	return removeAll(ctx, e.path(pod, name))
}

func (e emptyDir) usage(ctx context.Context, pod Pod, name string) (Usage, error) {
	path := e.path(pod, name)
	mounted, err := isMountRoot(path)
	if err != nil {
		return Usage{}, err
	}
	if mounted {
		return tmpfsUsage(path)
	}
	return diskUsage(ctx, path)
}
