// SPDX-License-Identifier: Apache-2.0

package volumes

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// isHugePages tells a medium of huge pages: HugePages, or HugePages-<size>.
func isHugePages(m corev1.StorageMedium) bool {
	return m == corev1.StorageMediumHugePages || strings.HasPrefix(string(m), string(corev1.StorageMediumHugePagesPrefix))
}

// pageSize is that of a volume: the medium's, or the only one that the Pod asks for.
// The Pod must have asked for pages of the size, as with the kubelet, since the volume's
// pages are charged to its containers.
// https://kubernetes.io/docs/tasks/manage-hugepages/scheduling-hugepages/
func pageSize(pod Pod, medium corev1.StorageMedium) (int64, error) {
	var wanted resource.Quantity
	if medium != corev1.StorageMediumHugePages {
		var err error
		if wanted, err = resource.ParseQuantity(strings.TrimPrefix(string(medium), string(corev1.StorageMediumHugePagesPrefix))); err != nil {
			return 0, err
		}
	}
	var found int64
	for _, size := range pod.HugePages {
		switch {
		case !wanted.IsZero() && size == wanted.Value():
			return size, nil
		case wanted.IsZero() && found != 0 && size != found:
			return 0, fmt.Errorf("medium: %s can't be used if container requests multiple huge page sizes", medium)
		case wanted.IsZero():
			found = size
		}
	}
	if found == 0 {
		return 0, fmt.Errorf("medium %s: hugePages storage requested, but there is no resource request for huge pages", medium)
	}
	return found, nil
}

// setUpHugePages mounts a hugetlbfs at path unless there is one. limit bounds it, in
// bytes and whole pages; 0 does not.
func setUpHugePages(path string, page, limit int64, group *int64) error {
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	mounted, err := isMountOf(path, unix.HUGETLBFS_MAGIC)
	if err != nil {
		return err
	}
	if mounted {
		return inheritGroup(path, group)
	}
	options := fmt.Sprintf("pagesize=%d,%s", page, rootOptions(group))
	if limit > 0 {
		options += fmt.Sprintf(",size=%d", limit)
	}
	err = unix.Mount("nodev", path, "hugetlbfs", 0, options)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("mount hugetlbfs (%s): %w: this kernel has no huge pages of that size, see /sys/kernel/mm/hugepages", options, err)
	}
	if err != nil {
		return fmt.Errorf("mount hugetlbfs at %s (%s): %w", path, options, err)
	}
	return inheritGroup(path, group)
}

// inheritGroup has the group of path own what is made in it: hugetlbfs takes no such
// mode when it is mounted.
func inheritGroup(path string, group *int64) error {
	if group == nil {
		return nil
	}
	var st unix.Stat_t
	err := unix.Stat(path, &st)
	if err == nil && st.Mode&unix.S_ISGID == 0 {
		err = unix.Chmod(path, st.Mode&0o7777|unix.S_ISGID)
	}
	if err != nil {
		return &fs.PathError{Op: "chmod", Path: path, Err: err}
	}
	return nil
}
