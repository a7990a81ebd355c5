// SPDX-License-Identifier: Apache-2.0

package cgroups

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	resourcehelper "k8s.io/component-helpers/resource"
)

// Deciding names what an effective amount came from.
type Deciding string

// What decides an effective amount, before overhead is added.
const (
	ByApps     Deciding = "apps"
	ByInit     Deciding = "init"
	ByPodLevel Deciding = "pod"
)

// Term is one container's part of a sum.
type Term struct {
	Container string            `json:"container"`
	Amount    resource.Quantity `json:"amount"`
}

// Sum shows how one effective request or limit is computed.
type Sum struct {
	Resource corev1.ResourceName `json:"resource"`
	// Apps are the app containers and the sidecars, which run together; AppsTotal is
	// their sum.
	Apps      []Term            `json:"apps"`
	AppsTotal resource.Quantity `json:"appsTotal"`
	// Inits has for each init container that runs to its end what it asks for with
	// the sidecars started before it.
	Inits []Term `json:"inits,omitempty"`
	// PodLevel is the Pod's own value, Overhead what is added at last; nil without.
	PodLevel  *resource.Quantity `json:"podLevel,omitempty"`
	Overhead  *resource.Quantity `json:"overhead,omitempty"`
	Decides   Deciding           `json:"decides"`
	Effective resource.Quantity  `json:"effective"`
}

// ExplainRequests shows how the effective requests of EffectiveOf come about,
// sorted by resource.
func ExplainRequests(pod *corev1.Pod) []Sum {
	podLevel := corev1.ResourceList{}
	if pod.Spec.Resources != nil {
		podLevel = pod.Spec.Resources.Requests
	}
	return explain(pod, EffectiveOf(pod).Requests, podLevel, func(c *corev1.Container) corev1.ResourceList { return c.Resources.Requests })
}

// ExplainLimits is ExplainRequests for limits.
func ExplainLimits(pod *corev1.Pod) []Sum {
	podLevel := corev1.ResourceList{}
	if pod.Spec.Resources != nil {
		podLevel = pod.Spec.Resources.Limits
	}
	return explain(pod, EffectiveOf(pod).Limits, podLevel, func(c *corev1.Container) corev1.ResourceList { return c.Resources.Limits })
}

func explain(pod *corev1.Pod, effective, podLevel corev1.ResourceList, of func(*corev1.Container) corev1.ResourceList) []Sum {
	var sums []Sum
	for name, total := range effective {
		s := sumOf(pod, name, of)
		s.Effective = total
		if q, ok := podLevel[name]; ok && resourcehelper.IsSupportedPodLevelResource(name) {
			s.PodLevel, s.Decides = &q, ByPodLevel
		}
		// Overhead counts for a limit only where there is one.
		if q, ok := pod.Spec.Overhead[name]; ok && !q.IsZero() && !total.IsZero() {
			s.Overhead = &q
		}
		sums = append(sums, s)
	}
	slices.SortFunc(sums, func(a, b Sum) int {
		if a.Resource < b.Resource {
			return -1
		}
		return 1
	})
	return sums
}

// sumOf has the terms of one resource: KEP-753's formula, spelled out.
func sumOf(pod *corev1.Pod, name corev1.ResourceName, of func(*corev1.Container) corev1.ResourceList) Sum {
	s := Sum{Resource: name, Decides: ByApps}
	var sidecars, largest resource.Quantity
	add := func(c *corev1.Container, q resource.Quantity) {
		s.Apps = append(s.Apps, Term{c.Name, q})
		s.AppsTotal.Add(q)
	}
	for i := range pod.Spec.InitContainers {
		c := &pod.Spec.InitContainers[i]
		q := of(c)[name].DeepCopy()
		if isSidecar(c) {
			add(c, q.DeepCopy())
			sidecars.Add(q)
			continue
		}
		q.Add(sidecars)
		s.Inits = append(s.Inits, Term{c.Name, q})
		if q.Cmp(largest) > 0 {
			largest = q
		}
	}
	for i := range pod.Spec.Containers {
		add(&pod.Spec.Containers[i], of(&pod.Spec.Containers[i])[name].DeepCopy())
	}
	if largest.Cmp(s.AppsTotal) > 0 {
		s.Decides = ByInit
	}
	return s
}
