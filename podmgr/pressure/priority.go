// SPDX-License-Identifier: Apache-2.0

package pressure

import corev1 "k8s.io/api/core/v1"

// The priorities that Kubernetes itself defines.
const (
	// SystemCritical is the least priority of a critical Pod.
	SystemCritical int32 = 2_000_000_000
	nodeCritical   int32 = SystemCritical + 1000

	nodeCriticalClass    = "system-node-critical"
	clusterCriticalClass = "system-cluster-critical"
)

// Priority of a Pod: spec.priority, else that of its class if Kubernetes defines
// it, else 0.
func Priority(pod *corev1.Pod) int32 {
	switch {
	case pod.Spec.Priority != nil:
		return *pod.Spec.Priority
	case pod.Spec.PriorityClassName == nodeCriticalClass:
		return nodeCritical
	case pod.Spec.PriorityClassName == clusterCriticalClass:
		return SystemCritical
	}
	return 0
}

// Critical says whether a Pod is: it is never evicted, and others may be pre-empted
// for it.
func Critical(pod *corev1.Pod) bool { return Priority(pod) >= SystemCritical }

// preemptable says whether pod may be pre-empted for another one.
func preemptable(preemptor, pod *corev1.Pod) bool {
	return Critical(preemptor) && !Critical(pod) || Priority(preemptor) > Priority(pod)
}
