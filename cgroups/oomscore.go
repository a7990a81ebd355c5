// SPDX-License-Identifier: Apache-2.0

package cgroups

import (
	corev1 "k8s.io/api/core/v1"
	resourcehelper "k8s.io/component-helpers/resource"
)

const (
	guaranteedOOMScoreAdj = -997
	bestEffortOOMScoreAdj = 1000
	// SandboxOOMScoreAdj is the pause container's: it must outlive its Pod.
	SandboxOOMScoreAdj = -998
	nodeCriticalClass  = "system-node-critical"
)

// OOMScoreAdj returns what the kernel adds to the OOM score (in thousandths of the
// node's memory) of the container's processes. Guaranteed and node-critical Pods
// go last, BestEffort ones first; between them, the more a container requested of
// the node's memory, the later. Source of the rule: the kubelet's
// GetContainerOOMScoreAdjust. A nodeMemoryBytes of 0 or less counts as unknown,
// and the container as having requested nothing.
func OOMScoreAdj(pod *corev1.Pod, c *corev1.Container, nodeMemoryBytes int64) int {
	if pod.Spec.PriorityClassName == nodeCriticalClass {
		return guaranteedOOMScoreAdj
	}
	switch QOSClass(pod) {
	case corev1.PodQOSGuaranteed:
		return guaranteedOOMScoreAdj
	case corev1.PodQOSBestEffort:
		return bestEffortOOMScoreAdj
	}
	request := c.Resources.Requests.Memory().Value()
	if isSidecar(c) {
		// A sidecar goes no earlier than the app containers that it serves.
		request = max(request, leastAppMemory(pod))
	}
	request += unassignedMemory(pod)
	adj := int64(bestEffortOOMScoreAdj)
	if nodeMemoryBytes > 0 {
		adj -= 1000 * min(request, nodeMemoryBytes) / nodeMemoryBytes
	}
	return int(min(max(adj, bestEffortOOMScoreAdj+guaranteedOOMScoreAdj), bestEffortOOMScoreAdj-1))
}

func isSidecar(c *corev1.Container) bool {
	return c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
}

// leastAppMemory is the smallest memory request of the app containers, in bytes.
func leastAppMemory(pod *corev1.Pod) int64 {
	var least int64
	for i := range pod.Spec.Containers {
		request := pod.Spec.Containers[i].Resources.Requests.Memory().Value()
		if i == 0 || request < least {
			least = request
		}
	}
	return least
}

// unassignedMemory is each container's share of the Pod-level memory request that
// no container claims, in bytes (KEP-2837).
func unassignedMemory(pod *corev1.Pod) int64 {
	if !resourcehelper.IsPodLevelRequestsSet(pod) {
		return 0
	}
	total := pod.Spec.Resources.Requests.Memory().Value()
	if total == 0 {
		return 0
	}
	claimed := resourcehelper.AggregateContainerRequests(pod, resourcehelper.PodResourcesOptions{})
	return (total - claimed.Memory().Value()) / int64(len(pod.Spec.Containers)+len(pod.Spec.InitContainers))
}
