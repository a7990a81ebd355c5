// SPDX-License-Identifier: Apache-2.0

package volumes

import (
	"errors"
	"fmt"
	"io/fs"
	"path"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
)

// Verify looks into a container that is made but not started, whose root directory is
// at root, and refuses it when a hostPath volume is not what Setup has checked: between
// the check and the mount, which the OCI runtime makes by name, somebody can have put a
// symbolic link there. What is mounted by then does not change any more. (A bind mount
// of our own would keep the object that was checked, but one of "/" would have all
// others below it.) Errors begin with the field's path below the container.
func (m *Manager) Verify(vols Volumes, mounts []corev1.VolumeMount, root string) error {
	for i, vm := range mounts {
		vol := vols[vm.Name]
		if !vol.Host || vm.SubPath != "" || vm.SubPathExpr != "" { // sub-paths are pinned
			continue
		}
		if err := verify(vol.Path, root, vm.MountPath); err != nil {
			return fmt.Errorf("volumeMounts[%d]: %w", i, err)
		}
	}
	return nil
}

func verify(source, root, mountPath string) error {
	want, err := identity(unix.AT_FDCWD, source, unix.RESOLVE_NO_SYMLINKS)
	if errors.Is(err, unix.ELOOP) {
		return fmt.Errorf("%s leads through a symbolic link since it was checked", source)
	}
	if err != nil {
		return err
	}
	dir, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &fs.PathError{Op: "open", Path: root, Err: err}
	}
	defer unix.Close(dir)
	have, err := identity(dir, path.Join("/", mountPath), unix.RESOLVE_IN_ROOT|unix.RESOLVE_NO_MAGICLINKS)
	if err != nil {
		return err
	}
	if have != want {
		return fmt.Errorf("%s was replaced while the container was made", source)
	}
	return nil
}

// object is what a path leads to, whatever it is called.
type object struct{ dev, ino uint64 }

func identity(dir int, path string, resolve uint64) (object, error) {
	fd, err := unix.Openat2(dir, path, &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: resolve})
	if err != nil {
		return object{}, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return object{}, &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	return object{st.Dev, st.Ino}, nil
}
