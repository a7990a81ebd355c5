// SPDX-License-Identifier: Apache-2.0

package volumes

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
)

// Mounts gives the bind mounts of one container. A subPath is made when it
// does not exist, and pinned below Pod.Dir so that a container that changes
// the volume meanwhile cannot lead the mount elsewhere; the caller has
// expanded subPathExpr into SubPath. Mounts may be called again for the
// container's next attempt. Errors begin with the field's path below the
// container.
func (m *Manager) Mounts(ctx context.Context, pod Pod, container string, vols Volumes, mounts []corev1.VolumeMount) ([]specs.Mount, error) {
	pod, err := resolved(pod)
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	pin := func(vol Volume, subPath, target string) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		return pinSubPath(ctx, vol, subPath, target)
	}
	return m.mounts(pod, container, vols, mounts, pin, machineChecks{checkPropagation, IDMappable})
}

// machineChecks refuse what the machine cannot mount as asked for.
type machineChecks struct {
	propagation propagationCheck
	mappable    func(path, userNamespace string) error
}

// mounts composes the mounts; pin makes a sub-path, and the checks look at a source.
func (m *Manager) mounts(pod Pod, container string, vols Volumes, mounts []corev1.VolumeMount,
	pin func(vol Volume, subPath, target string) error, check machineChecks) ([]specs.Mount, error) {
	if err := checkName(container); err != nil {
		return nil, fmt.Errorf("name: %w", err)
	}
	out := make([]specs.Mount, 0, len(mounts))
	for i, vm := range mounts {
		field := fmt.Sprintf("volumeMounts[%d]", i)
		vol, ok := vols[vm.Name]
		if !ok || vol.Device {
			return nil, fmt.Errorf("%s.name: the pod has no volume %q", field, vm.Name)
		}
		options, err := m.options(vol, vm, check.propagation)
		if err != nil {
			return nil, fmt.Errorf("%s%w", field, err)
		}
		source := vol.Path
		switch {
		case vm.SubPathExpr != "":
			return nil, fmt.Errorf("%s.subPathExpr: %q is not expanded", field, vm.SubPathExpr)
		case vm.SubPath != "":
			target := filepath.Join(pod.Dir, subPathsDir, vm.Name, container, fmt.Sprint(i))
			if err := pin(vol, vm.SubPath, target); err != nil {
				return nil, fmt.Errorf("%s.subPath: %w", field, err)
			}
			source = target
		}
		if pod.UserNamespace != "" && !vol.Mapped {
			if err := check.mappable(source, pod.UserNamespace); err != nil {
				return nil, fmt.Errorf("%s: volume %q: %w", field, vm.Name, err)
			}
			options = append(options, "idmap")
		}
		out = append(out, specs.Mount{Destination: vm.MountPath, Type: "bind", Source: source, Options: options})
	}
	return out, nil
}

// propagationCheck refuses a source that cannot propagate mounts as asked for.
type propagationCheck func(path string, tags ...string) error

// options are the mount options of one bind mount. The error starts with the
// field's path below the volume mount.
func (m *Manager) options(vol Volume, vm corev1.VolumeMount, propagation propagationCheck) ([]string, error) {
	mode := corev1.MountPropagationNone
	if vm.MountPropagation != nil {
		mode = *vm.MountPropagation
	}
	options := []string{"rbind"}
	switch mode {
	case corev1.MountPropagationNone:
		options = append(options, "rprivate")
	case corev1.MountPropagationHostToContainer:
		if err := propagation(vol.Path, "shared:", "master:"); err != nil {
			return nil, fmt.Errorf(".mountPropagation: %w", err)
		}
		options = append(options, "rslave")
	case corev1.MountPropagationBidirectional:
		if vm.SubPath != "" {
			return nil, errors.New(".mountPropagation: Bidirectional is not supported with a subPath")
		}
		if err := propagation(vol.Path, "shared:"); err != nil {
			return nil, fmt.Errorf(".mountPropagation: %w", err)
		}
		options = append(options, "rshared")
	default:
		return nil, fmt.Errorf(".mountPropagation: %q is unknown", mode)
	}

	if vol.Options != "" {
		options = append(options, strings.Split(vol.Options, ",")...)
	}

	recursive := corev1.RecursiveReadOnlyDisabled
	if vm.RecursiveReadOnly != nil {
		recursive = *vm.RecursiveReadOnly
	}
	access := "rw"
	if vm.ReadOnly || vol.ReadOnly {
		access = "ro"
	}
	switch recursive {
	case corev1.RecursiveReadOnlyDisabled:
	case corev1.RecursiveReadOnlyIfPossible, corev1.RecursiveReadOnlyEnabled:
		if access != "ro" || mode != corev1.MountPropagationNone {
			return nil, fmt.Errorf(".recursiveReadOnly: %s needs readOnly and no mountPropagation", recursive)
		}
		if m.recursiveReadOnly {
			access = "rro"
		} else if recursive == corev1.RecursiveReadOnlyEnabled {
			return nil, errors.New(".recursiveReadOnly: this node's kernel cannot do it, Linux 5.12 or later is needed")
		}
	default:
		return nil, fmt.Errorf(".recursiveReadOnly: %q is unknown", recursive)
	}
	return append(options, access), nil
}

// checkPropagation refuses a source whose mount has none of the given tags of
// mountinfo: the container would see nothing of what it asks for.
func checkPropagation(path string, tags ...string) error {
	info, err := mountOf(path)
	if err != nil {
		return err
	}
	for _, o := range strings.Fields(info.Optional) {
		if slices.ContainsFunc(tags, func(tag string) bool { return strings.HasPrefix(o, tag) }) {
			return nil
		}
	}
	want := "a shared"
	if len(tags) > 1 {
		want = "a shared or slave"
	}
	return fmt.Errorf("path %q is mounted on %q but it is not %s mount", path, info.Mountpoint, want)
}

// recursiveReadOnlySupported asks the kernel for mount_setattr(2), of Linux
// 5.12, with a call that cannot succeed.
func recursiveReadOnlySupported() bool {
	err := unix.MountSetattr(-1, "", unix.AT_EMPTY_PATH, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY})
	return !errors.Is(err, unix.ENOSYS)
}
