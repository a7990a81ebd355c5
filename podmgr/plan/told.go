// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"slices"
	"strings"
	"unicode/utf8"

	corev1 "k8s.io/api/core/v1"
)

// messagesMax is what the termination messages of all containers of a Pod may have
// together, in bytes, in equal parts, as in the kubelet.
const messagesMax = 12 << 10

// told puts a status into the form in which the kubelet tells it: apps and ephemeral
// containers by their names, init containers in the spec's order, and termination
// messages cut to what there is room for.
func (v *view) told(s corev1.PodStatus) corev1.PodStatus {
	byName := func(a, b corev1.ContainerStatus) int { return strings.Compare(a.Name, b.Name) }
	slices.SortFunc(s.ContainerStatuses, byName)
	slices.SortFunc(s.EphemeralContainerStatuses, byName)
	limit := messagesMax / max(1, len(v.members()))
	for _, list := range [][]corev1.ContainerStatus{s.InitContainerStatuses, s.ContainerStatuses, s.EphemeralContainerStatuses} {
		for i := range list {
			list[i].State.Terminated = shortened(list[i].State.Terminated, limit)
			list[i].LastTerminationState.Terminated = shortened(list[i].LastTerminationState.Terminated, limit)
		}
	}
	return s
}

// shortened is the end of a container with a message of so many bytes at most.
func shortened(t *corev1.ContainerStateTerminated, limit int) *corev1.ContainerStateTerminated {
	if t == nil || len(t.Message) <= limit {
		return t
	}
	for limit > 0 && !utf8.RuneStart(t.Message[limit]) {
		limit--
	}
	short := *t
	short.Message = t.Message[:limit]
	return &short
}
