// SPDX-License-Identifier: Apache-2.0

package podmgr

import (
	"context"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/minikubelet/minikubelet/cgroups"
	"github.com/minikubelet/minikubelet/podmgr/plan"
	"github.com/minikubelet/minikubelet/podmgr/pressure"
	"github.com/minikubelet/minikubelet/runtime/spec"
)

// admitted are the effective requests of the Pods that have a place on the node.
type admitted map[types.UID]corev1.ResourceList

// admit decides once for each Pod whether its effective requests fit into what is
// left of the node, as the kubelet's admission does. A Pod that was started
// before has its place already.
func (w *worker) admit(ctx context.Context) {
	w.mu.Lock()
	pod, started := w.pod, w.pod.Status.StartTime != nil
	w.mu.Unlock()
	if pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
		return
	}
	var unfit *plan.Refusal
	if !started {
		node, err := w.m.node()
		if err != nil {
			w.log.Error("cannot read the node's object", "err", err)
			unfit = &plan.Refusal{Reason: "InvalidNodeInfo", Message: "Kubelet cannot get node info."}
		} else {
			unfit = misplaced(node, pod)
		}
	}
	refusal, missing := w.m.place(pod, started, unfit)
	if len(missing) > 0 && pressure.Critical(pod) {
		err := w.m.preempt(ctx, pod, missing)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			refusal = &plan.Refusal{Reason: "UnexpectedAdmissionError", Message: "Unexpected error while attempting to recover from admission failure: " + err.Error()}
		default:
			refusal, _ = w.m.place(pod, true, nil)
		}
	}
	w.mu.Lock()
	w.refused = refusal
	w.mu.Unlock()
}

// place gives a Pod its place, or the reason why there is none, with all that is
// missing if that is the reason. unfit is why the node is none for the Pod: of two
// reasons the shortage is told, but to a critical Pod, which could end it.
func (m *Manager) place(pod *corev1.Pod, sure bool, unfit *plan.Refusal) (*plan.Refusal, []pressure.Shortage) {
	requests := cgroups.EffectiveOf(pod).Requests
	m.mu.Lock()
	defer m.mu.Unlock()
	if !sure {
		if m.closing {
			return &plan.Refusal{Reason: reasonNodeShutdown, Message: nodeShutdownMessage}, nil
		}
		if why, ok := pressure.Admits(m.conditions, pod, cgroups.QOSClass(pod)); !ok {
			return &plan.Refusal{Reason: reasonEvicted, Message: why}, nil
		}
		if refusal := refusedSecurity(m.cfg.Node, pod); refusal != nil {
			return refusal, nil
		}
		short, missing := refusal(m.cfg.Allocatable, m.placed, requests)
		switch {
		case unfit != nil && (short == nil || pressure.Critical(pod)):
			return unfit, nil
		case short != nil:
			return short, missing
		}
	}
	m.placed[pod.UID] = requests
	if cgroups.QOSClass(pod) == corev1.PodQOSBurstable {
		m.burstable[pod.UID] = amount(corev1.ResourceCPU, requests)
		m.updateQOS()
	}
	m.allocateResizes() // of this Pod, when an earlier agent left one pending
	return nil, nil
}

// refusedSecurity is why the node cannot give the Pod what its security context asks
// for, in the kubelet's words; nil when it can.
func refusedSecurity(node spec.Node, pod *corev1.Pod) *plan.Refusal {
	if err := node.Sysctls.Admit(pod); err != nil {
		return &plan.Refusal{Reason: "SysctlForbidden", Message: err.Error()}
	}
	if err := spec.AdmitAppArmor(pod, node); err != nil {
		return &plan.Refusal{Reason: "AppArmor", Message: "Cannot enforce AppArmor: " + err.Error()}
	}
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
// all else in units, as in the kubelet's messages. The first shortage is the reason.
func refusal(allocatable corev1.ResourceList, placed admitted, requests corev1.ResourceList) (first *plan.Refusal, missing []pressure.Shortage) {
	short := func(name corev1.ResourceName, wanted, used, total int64) {
		if wanted > total-used {
			if first == nil {
				first = insufficient(name, wanted, used, total)
			}
			missing = append(missing, pressure.Shortage{Name: name, Amount: wanted - (total - used)})
		}
	}
	if max, ok := allocatable[corev1.ResourcePods]; ok {
		short(corev1.ResourcePods, 1, int64(len(placed)), max.Value())
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
		short(name, amount(name, requests), used, amount(name, corev1.ResourceList{name: capacity}))
	}
	return first, missing
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
