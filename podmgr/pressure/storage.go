// SPDX-License-Identifier: Apache-2.0

package pressure

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
)

// LimitsStorage says whether a Pod bounds what it may have on disk.
func LimitsStorage(pod *corev1.Pod) bool {
	for i := range pod.Spec.Volumes {
		if e := pod.Spec.Volumes[i].EmptyDir; e != nil && e.SizeLimit != nil && e.SizeLimit.Sign() > 0 && e.Medium == corev1.StorageMediumDefault {
			return true
		}
	}
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			if q := list[i].Resources.Limits.StorageEphemeral(); q.Sign() > 0 {
				return true
			}
		}
	}
	return false
}

// ExceedsStorage says, in the kubelet's words, which of its limits a Pod's files
// exceed; empty if none: an emptyDir's size, all its containers' limits together, or
// an app container's own. limits are the Pod's effective ones, volumes bytes by name,
// hosts those of the Pod's /etc/hosts.
func ExceedsStorage(pod *corev1.Pod, limits corev1.ResourceList, containers []ContainerUsage, volumes map[string]int64, hosts int64) string {
	total := hosts
	for _, bytes := range volumes {
		total += bytes
	}
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		if v.EmptyDir == nil || v.EmptyDir.SizeLimit == nil || v.EmptyDir.SizeLimit.Sign() <= 0 {
			continue
		}
		if volumes[v.Name] > v.EmptyDir.SizeLimit.Value() {
			return fmt.Sprintf("Usage of EmptyDir volume %q exceeds the limit %q. ", v.Name, v.EmptyDir.SizeLimit.String())
		}
	}
	for _, c := range containers {
		total += c.Disk
	}
	if limit, ok := limits[corev1.ResourceEphemeralStorage]; ok && total > limit.Value() {
		return fmt.Sprintf("Pod ephemeral local storage usage exceeds the total limit of containers %s. ", limit.String())
	}
	for _, c := range containers {
		for i := range pod.Spec.Containers {
			limit := pod.Spec.Containers[i].Resources.Limits.StorageEphemeral()
			if pod.Spec.Containers[i].Name == c.Name && limit.Value() != 0 && c.Disk > limit.Value() {
				return fmt.Sprintf("Container %s exceeded its local ephemeral storage limit %q. ", c.Name, limit.String())
			}
		}
	}
	return ""
}
