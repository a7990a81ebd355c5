// SPDX-License-Identifier: Apache-2.0

package cgroups

import (
	corev1 "k8s.io/api/core/v1"
	resourcehelper "k8s.io/component-helpers/resource"
)

// Effective is what a Pod asks of its node as a whole.
type Effective struct {
	Requests corev1.ResourceList
	Limits   corev1.ResourceList
}

// EffectiveOf returns the Pod's effective requests and limits: for each resource
// the larger of the sum over the app containers and the largest init container,
// where restartable init containers (sidecars) count with everything that runs
// beside them (KEP-753), replaced by the Pod-level value where the Pod has one
// (KEP-2837), plus the Pod's overhead. The formula is upstream's own function.
//
// The Pod must be defaulted: requests are taken from limits there. A limit in the
// result does not mean that every container has one; PodResources decides that.
func EffectiveOf(pod *corev1.Pod) Effective {
	return Effective{
		Requests: resourcehelper.PodRequests(pod, resourcehelper.PodResourcesOptions{}),
		Limits:   resourcehelper.PodLimits(pod, resourcehelper.PodResourcesOptions{}),
	}
}

// QOSClass returns the Pod's quality-of-service class, computed from the spec
// alone. Only cpu and memory count. With Pod-level resources they alone decide;
// otherwise every container, init containers included, must limit both for the
// Pod to be Guaranteed, and the sums of requests and limits must be equal.
func QOSClass(pod *corev1.Pod) corev1.PodQOSClass {
	var all []corev1.ResourceRequirements
	if pod.Spec.Resources != nil {
		all = append(all, *pod.Spec.Resources)
	} else {
		for i := range pod.Spec.Containers {
			all = append(all, pod.Spec.Containers[i].Resources)
		}
		for i := range pod.Spec.InitContainers {
			all = append(all, pod.Spec.InitContainers[i].Resources)
		}
	}
	requests, limits := corev1.ResourceList{}, corev1.ResourceList{}
	everyLimit := true
	for _, r := range all {
		addPositive(requests, r.Requests)
		if addPositive(limits, r.Limits) < len(qosResources) && (pod.Spec.Resources == nil || len(r.Limits) > 0) {
			everyLimit = false
		}
	}
	switch {
	case len(requests) == 0 && len(limits) == 0:
		return corev1.PodQOSBestEffort
	case everyLimit && sameQuantities(requests, limits):
		return corev1.PodQOSGuaranteed
	}
	return corev1.PodQOSBurstable
}

// qosResources are the resources that decide the QoS class.
var qosResources = [...]corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory}

// addPositive adds the cpu and memory of list that are above zero to sum, and
// returns how many they were.
func addPositive(sum, list corev1.ResourceList) int {
	n := 0
	for _, name := range qosResources {
		quantity, ok := list[name]
		if !ok || quantity.Sign() <= 0 {
			continue
		}
		n++
		total := sum[name].DeepCopy()
		total.Add(quantity)
		sum[name] = total
	}
	return n
}

// sameQuantities says whether a and b hold the same resources in the same amounts.
func sameQuantities(a, b corev1.ResourceList) bool {
	if len(a) != len(b) {
		return false
	}
	for name, quantity := range a {
		other, ok := b[name]
		if !ok || other.Cmp(quantity) != 0 {
			return false
		}
	}
	return true
}
