// SPDX-License-Identifier: Apache-2.0

package podmgr

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"

	"github.com/minikubelet/minikubelet/cgroups"
	"github.com/minikubelet/minikubelet/podmgr/plan"
)

// What the store says of a Pod's resources is what is wanted. What is allocated is
// decided here, when there is room; the worker works with a Pod that has the allocated
// ones in its spec, and so does everything below it. It is on record in the Pod's
// status, where the API has it: an agent that starts takes it from there.

// sameResources says whether two versions of a Pod ask for the same.
func sameResources(a, b *corev1.Pod) bool {
	if !equality.Semantic.DeepEqual(a.Spec.Resources, b.Spec.Resources) {
		return false
	}
	same := func(a, b []corev1.Container) bool {
		return slices.EqualFunc(a, b, func(a, b corev1.Container) bool {
			return equality.Semantic.DeepEqual(a.Resources, b.Resources)
		})
	}
	return same(a.Spec.InitContainers, b.Spec.InitContainers) && same(a.Spec.Containers, b.Spec.Containers)
}

// withResources is a Pod with the resources that another version of it has.
func withResources(pod, from *corev1.Pod) *corev1.Pod {
	if sameResources(pod, from) {
		return pod
	}
	pod = pod.DeepCopy()
	pod.Spec.Resources = from.Spec.Resources.DeepCopy()
	take := func(to, from []corev1.Container) {
		for i := range min(len(to), len(from)) {
			from[i].Resources.DeepCopyInto(&to[i].Resources)
		}
	}
	take(pod.Spec.InitContainers, from.Spec.InitContainers)
	take(pod.Spec.Containers, from.Spec.Containers)
	return pod
}

// allocated is a Pod with the resources that its status says to be allocated. Those
// that are as wanted in the requests are as wanted in the limits, too: nobody waits
// for limits.
func allocated(pod *corev1.Pod) *corev1.Pod {
	s := &pod.Status
	if s.StartTime == nil {
		return pod
	}
	out := pod.DeepCopy()
	take := func(list []corev1.Container, statuses []corev1.ContainerStatus) {
		for i := range list {
			for _, c := range statuses {
				if c.Name == list[i].Name && c.Resources != nil && !equality.Semantic.DeepEqual(list[i].Resources.Requests, c.AllocatedResources) {
					c.Resources.DeepCopyInto(&list[i].Resources)
					list[i].Resources.Requests = c.AllocatedResources.DeepCopy()
				}
			}
		}
	}
	take(out.Spec.InitContainers, s.InitContainerStatuses)
	take(out.Spec.Containers, s.ContainerStatuses)
	if out.Spec.Resources != nil && s.Resources != nil && !equality.Semantic.DeepEqual(cgroups.EffectiveOf(pod).Requests, s.AllocatedResources) {
		for _, list := range [][2]corev1.ResourceList{{out.Spec.Resources.Requests, s.AllocatedResources}, {out.Spec.Resources.Limits, s.Resources.Limits}} {
			for name := range list[0] {
				if q, ok := list[1][name]; ok {
					list[0][name] = q
				}
			}
		}
	}
	return out
}

// effective are the requests and limits of the Pod as a whole.
func effective(pod *corev1.Pod) *corev1.ResourceRequirements {
	e := cgroups.EffectiveOf(pod)
	return &corev1.ResourceRequirements{Requests: e.Requests, Limits: e.Limits}
}

// allocateResizes tries what waits for room, in the kubelet's order: who asks for no
// more first, then by priority, QoS class and time of waiting. m.mu is held.
func (m *Manager) allocateResizes() {
	var waiting []*worker
	for _, w := range m.workers {
		if _, placed := m.placed[w.desiredPod().UID]; placed && w.wantsResize() {
			waiting = append(waiting, w)
		}
	}
	slices.SortFunc(waiting, func(a, b *worker) int { return slices.Compare(a.resizeRank(), b.resizeRank()) })
	for _, w := range waiting {
		m.allocateResize(w)
	}
}

// allocateResize gives a Pod the resources that it asks for, if there is room beside
// the others.
func (m *Manager) allocateResize(w *worker) {
	desired := w.desiredPod()
	wants := placeOf(desired)
	requests := wants.requests
	others := maps.Clone(m.placed)
	delete(others, desired.UID)
	if r, _ := admitted(others).shortage(m.cfg.Allocatable, requests); r != nil {
		pending := &plan.PendingResize{Desired: desired, Reason: corev1.PodReasonDeferred, Message: r.Message}
		if name, total, over := beyond(m.cfg.Allocatable, requests); over {
			pending.Reason = corev1.PodReasonInfeasible
			pending.Message = fmt.Sprintf("Node didn't have enough capacity: %s, requested: %d, capacity: %d", name, amount(name, requests), total)
		}
		w.postpone(pending)
		return
	}
	m.placed[desired.UID] = wants
	if _, ok := m.burstable[desired.UID]; ok {
		m.burstable[desired.UID] = amount(corev1.ResourceCPU, requests)
		m.updateQOS()
	}
	w.allocate(desired)
}

// beyond names a resource of which more is asked for than the node has.
func beyond(allocatable, requests corev1.ResourceList) (name corev1.ResourceName, total int64, over bool) {
	for _, name := range slices.Sorted(maps.Keys(requests)) {
		if has, ok := allocatable[name]; ok && amount(name, requests) > amount(name, corev1.ResourceList{name: has}) {
			return name, amount(name, allocatable), true
		}
	}
	return "", 0, false
}

func (w *worker) desiredPod() *corev1.Pod {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.desired
}

func (w *worker) wantsResize() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return !sameResources(w.desired, w.pod)
}

// resizeRank orders resizes: the smaller, the earlier.
func (w *worker) resizeRank() []int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	rank := []int64{0, 0, 0, 0}
	old, now := cgroups.EffectiveOf(w.pod).Requests, cgroups.EffectiveOf(w.desired).Requests
	for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
		if amount(name, now) > amount(name, old) {
			rank[0] = 1
		}
	}
	if p := w.desired.Spec.Priority; p != nil {
		rank[1] = -int64(*p)
	}
	if cgroups.QOSClass(w.desired) != corev1.PodQOSGuaranteed {
		rank[2] = 1
	}
	rank[3] = w.waiting()
	return rank
}

// waiting is since when there has been no room for the Pod's resize, also by the word of an
// earlier agent; one that was not tried yet comes last. w.mu is held.
func (w *worker) waiting() int64 {
	if w.pending != nil {
		return w.waitsSince.UnixNano()
	}
	for _, c := range w.desired.Status.Conditions {
		if c.Type == corev1.PodResizePending {
			return c.LastTransitionTime.UnixNano()
		}
	}
	return math.MaxInt64
}

// postpone notes that there is no room for what the Pod asks for.
func (w *worker) postpone(p *plan.PendingResize) {
	w.mu.Lock()
	if w.pending == nil {
		w.waitsSince = time.Now()
	}
	w.pending = p
	w.mu.Unlock()
	w.wakeUp()
}

// allocate gives the Pod what it asks for.
func (w *worker) allocate(desired *corev1.Pod) {
	w.mu.Lock()
	w.pod, w.pending, w.allocatedFor = withResources(w.pod, desired), nil, desired.Generation
	w.mu.Unlock()
	w.wakeUp()
}
