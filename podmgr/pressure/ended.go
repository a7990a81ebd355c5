// SPDX-License-Identifier: Apache-2.0

package pressure

import (
	"cmp"
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// evicted is the reason in the status of Pods that were evicted.
const evicted = "Evicted"

// Surplus are the ended Pods that go so that at most keep stay, in the order of
// kube-controller-manager's Pod garbage collector: evicted ones first, then the older
// ones, then by name. keep 0 keeps all of them.
func Surplus(ended []*corev1.Pod, keep int) []*corev1.Pod {
	if keep <= 0 || len(ended) <= keep {
		return nil
	}
	sorted := slices.SortedStableFunc(slices.Values(ended), func(a, b *corev1.Pod) int {
		return cmp.Or(
			truthFirst(wasEvicted(a), wasEvicted(b)), a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	})
	return sorted[:len(sorted)-keep]
}

func wasEvicted(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodFailed && pod.Status.Reason == evicted
}
