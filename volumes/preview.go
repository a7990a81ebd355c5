// SPDX-License-Identifier: Apache-2.0

package volumes

import (
	"errors"
	"fmt"

	"github.com/opencontainers/runtime-spec/specs-go"
	corev1 "k8s.io/api/core/v1"
)

// Preview gives the volumes that Setup would give, and as an error what Setup
// would refuse now; the volumes that it would not refuse are given all the same.
// It makes nothing and needs no privilege; Pod.Dir need not exist.
func (m *Manager) Preview(pod Pod, vols []corev1.Volume) (Volumes, error) {
	var errs []error
	out := make(Volumes, len(vols))
	for i, v := range vols {
		t, err := m.typeOf(i, v)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		vol, err := t.preview(pod, v)
		if err != nil {
			errs = append(errs, fmt.Errorf("spec.volumes[%d].%s: %w", i, t.source(), err))
			vol.Path = v.Name
			if v.HostPath != nil {
				vol.Path = v.HostPath.Path
			}
		}
		out[v.Name] = vol
	}
	return out, errors.Join(errs...)
}

// PreviewMounts gives the mounts that Mounts would give for volumes of Preview.
// Neither sub-paths nor what their sources' mounts can do are looked at.
func (m *Manager) PreviewMounts(pod Pod, container string, vols Volumes, mounts []corev1.VolumeMount) ([]specs.Mount, error) {
	return m.mounts(pod, container, vols, mounts,
		func(Volume, string, string) error { return nil },
		machineChecks{func(string, ...string) error { return nil }, func(string, string) error { return nil }})
}
