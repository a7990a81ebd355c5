// SPDX-License-Identifier: Apache-2.0

package volumes

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
)

// DeviceError is why a volume is no block device that containers can have, in the
// kubelet's words. Its event is FailedMapVolume.
type DeviceError struct {
	Volume string // the PersistentVolume's name
	Err    error
}

func (e *DeviceError) Error() string {
	return fmt.Sprintf("MapVolume.MapBlockVolume failed for volume %q : %v", e.Volume, e.Err)
}
func (e *DeviceError) Unwrap() error { return e.Err }

// blockDevice is the volume of a claim that is a block device. The path may lead through
// links, as those in /dev/disk do; what it is now counts.
func (h hostPath) blockDevice(claim Claim) (Volume, error) {
	failed := func(err error) (Volume, error) { return Volume{}, &DeviceError{claim.Name, err} }
	path := filepath.Clean(claim.Device)
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return failed(&fs.PathError{Op: "open", Path: path, Err: err})
	}
	defer unix.Close(fd)
	if _, err := deviceOf(fd, path); err != nil {
		return failed(err)
	}
	real, err := os.Readlink(fdPath(fd))
	if err != nil {
		return failed(err)
	}
	if err := h.checkAllowed(path, real); err != nil {
		return failed(err)
	}
	return Volume{Path: real, Device: true, ReadOnly: claim.ReadOnly}, nil
}

// deviceOf describes the block device that fd refers to.
func deviceOf(fd int, path string) (specs.LinuxDevice, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return specs.LinuxDevice{}, &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFBLK {
		return specs.LinuxDevice{}, fmt.Errorf("%s is not a block device", path)
	}
	mode := os.FileMode(st.Mode & 0o777)
	return specs.LinuxDevice{
		Type: "b", Major: int64(unix.Major(st.Rdev)), Minor: int64(unix.Minor(st.Rdev)), FileMode: &mode, UID: &st.Uid, GID: &st.Gid,
	}, nil
}

// Devices gives the device nodes of one container, with the host's owner and mode, and
// the rules that let it use them. Nodes are made by number: it does not matter what
// somebody puts at a path afterwards. Errors begin with the field's path below the
// container.
func (m *Manager) Devices(container string, vols Volumes, devices []corev1.VolumeDevice) ([]specs.LinuxDevice, []specs.LinuxDeviceCgroup, error) {
	var nodes []specs.LinuxDevice
	var rules []specs.LinuxDeviceCgroup
	for i, d := range devices {
		field := fmt.Sprintf("volumeDevices[%d]", i)
		vol, ok := vols[d.Name]
		if !ok || !vol.Device {
			return nil, nil, fmt.Errorf("%s.name: cannot find volume %q to pass into container %q", field, d.Name, container)
		}
		fd, err := unix.Openat2(unix.AT_FDCWD, vol.Path, &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_SYMLINKS})
		if errors.Is(err, unix.ELOOP) {
			return nil, nil, fmt.Errorf("%s: %s leads through a symbolic link since it was checked", field, vol.Path)
		}
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", field, &fs.PathError{Op: "open", Path: vol.Path, Err: err})
		}
		node, err := deviceOf(fd, vol.Path)
		unix.Close(fd)
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", field, err)
		}
		node.Path = filepath.Clean(d.DevicePath)
		access := "rwm"
		if vol.ReadOnly {
			access = "r"
		}
		nodes = append(nodes, node)
		rules = append(rules, specs.LinuxDeviceCgroup{Allow: true, Type: node.Type, Major: &node.Major, Minor: &node.Minor, Access: access})
	}
	return nodes, rules, nil
}

// PreviewDevices gives the nodes that Devices would give, but for their numbers: what a
// claim is bound to is not looked up.
func PreviewDevices(devices []corev1.VolumeDevice) []specs.LinuxDevice {
	var nodes []specs.LinuxDevice
	for _, d := range devices {
		nodes = append(nodes, specs.LinuxDevice{Path: filepath.Clean(d.DevicePath), Type: "b"})
	}
	return nodes
}
