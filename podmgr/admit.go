// SPDX-License-Identifier: Apache-2.0

package podmgr

import (
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/minikubelet/minikubelet/cgroups"
	"github.com/minikubelet/minikubelet/podmgr/plan"
)

// admitted are the effective requests of the Pods that have a place on the node.
type admitted map[types.UID]corev1.ResourceList

// admit decides once for each Pod whether its effective requests fit into what is
// left of the node, as the kubelet's admission does. A Pod that was started
// before has its place already.
func (w *worker) admit() {
	w.mu.Lock()
	pod, started := w.pod, w.pod.Status.StartTime != nil
	w.mu.Unlock()
	if pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
		return
	}
	refusal := w.m.place(pod, started)
	w.mu.Lock()
	w.refused = refusal
	w.mu.Unlock()
}

// place gives a Pod its place, or the reason why there is none.
func (m *Manager) place(pod *corev1.Pod, sure bool) *plan.Refusal {
	requests := cgroups.EffectiveOf(pod).Requests
	m.mu.Lock()
	defer m.mu.Unlock()
	if !sure {
		if m.closing {
			return &plan.Refusal{Reason: reasonNodeShutdown, Message: nodeShutdownMessage}
		}
		if r := refusal(m.cfg.Allocatable, m.placed, requests); r != nil {
			return r
		}
	}
	m.placed[pod.UID] = requests
	if cgroups.QOSClass(pod) == corev1.PodQOSBurstable {
		m.burstable[pod.UID] = amount(corev1.ResourceCPU, requests)
		m.updateQOS()
	}
	m.allocateResizes() // of this Pod, when an earlier agent left one pending
	return nil
}

// updateQOS gives the burstable Pods together what they ask for; m.mu is held.
func (m *Manager) updateQOS() {
	var sum int64
	for _, milliCPU := range m.burstable {
		sum += milliCPU
	}
	if err := m.cfg.Cgroups.UpdateQOS(sum); err != nil {
		m.cfg.Log.Warn("the burstable Pods' share of the CPU is out of date", "err", err)
	}
}

// refusal compares with what is left beside placed. CPU is counted in thousandths,
// all else in units, as in the kubelet's messages.
func refusal(allocatable corev1.ResourceList, placed admitted, requests corev1.ResourceList) *plan.Refusal {
	if max, ok := allocatable[corev1.ResourcePods]; ok && int64(len(placed)) >= max.Value() {
		return insufficient(corev1.ResourcePods, 1, int64(len(placed)), max.Value())
	}
	for _, name := range slices.Sorted(maps.Keys(requests)) {
		quantity := requests[name]
		capacity, ok := allocatable[name]
		if quantity.IsZero() || (!ok && name != corev1.ResourceCPU && name != corev1.ResourceMemory && !isHugePage(name)) {
			continue
		}
		var used int64
		for _, other := range placed {
			used += amount(name, other)
		}
		wanted, total := amount(name, requests), amount(name, corev1.ResourceList{name: capacity})
		if wanted > total-used {
			return insufficient(name, wanted, used, total)
		}
	}
	return nil
}

func isHugePage(name corev1.ResourceName) bool {
	return len(name) > len(corev1.ResourceHugePagesPrefix) && name[:len(corev1.ResourceHugePagesPrefix)] == corev1.ResourceHugePagesPrefix
}

func amount(name corev1.ResourceName, list corev1.ResourceList) int64 {
	q := list[name]
	if name == corev1.ResourceCPU {
		return q.MilliValue()
	}
	return q.Value()
}

func insufficient(name corev1.ResourceName, requested, used, capacity int64) *plan.Refusal {
	return &plan.Refusal{
		Reason: "OutOf" + string(name),
		Message: fmt.Sprintf("Node didn't have enough resource: %s, requested: %d, used: %d, capacity: %d",
			name, requested, used, capacity),
	}
}

// release gives a Pod's place back; it may be called more than once.
func (w *worker) release() {
	uid := types.UID(w.uid)
	w.m.mu.Lock()
	defer w.m.mu.Unlock()
	if _, placed := w.m.placed[uid]; !placed {
		return
	}
	delete(w.m.placed, uid)
	defer w.m.allocateResizes()
	if _, ok := w.m.burstable[uid]; ok {
		delete(w.m.burstable, uid)
		w.m.updateQOS()
	}
}
