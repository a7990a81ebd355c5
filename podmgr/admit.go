// SPDX-License-Identifier: Apache-2.0

package podmgr

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/minikubelet/minikubelet/cgroups"
	"github.com/minikubelet/minikubelet/network"
	"github.com/minikubelet/minikubelet/podmgr/plan"
	"github.com/minikubelet/minikubelet/podmgr/pressure"
	"github.com/minikubelet/minikubelet/runtime/spec"
)

// place is what an admitted Pod has of the node: its effective requests and its ports
// of the host.
type place struct {
	requests corev1.ResourceList
	ports    []network.HostPort
}

// placeOf is the place that a Pod needs. Ports that cannot be mapped are told of when
// they are to be.
func placeOf(pod *corev1.Pod) place {
	ports, _ := network.Claims(&pod.Spec)
	return place{requests: cgroups.EffectiveOf(pod).Requests, ports: ports}
}

// admitted are the places of the Pods that have one.
type admitted map[types.UID]place

// admit decides once for each Pod whether the node takes it, as the kubelet's admission
// does. A Pod that was started before has its place already: in the store's words, or,
// when an agent was killed before it could write them, in the runtime's. What is missing
// for a critical Pod is returned: others could be ended for it. m.mu is held.
func (m *Manager) admit(w *worker) (missing []pressure.Shortage) {
	pod, started := w.pod, m.wasStarted(w.pod)
	switch {
	case pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed:
		return nil
	case !started && pod.DeletionTimestamp != nil:
		return nil // it goes without ever having been here
	case !started:
		if w.refused, missing = m.refuses(pod); w.refused != nil {
			return missing
		}
	}
	m.take(pod)
	return nil
}

// wasStarted says whether a Pod was admitted by an earlier agent.
func (m *Manager) wasStarted(pod *corev1.Pod) bool {
	return pod.Status.StartTime != nil || len(m.cfg.Runtime.Pod(string(pod.UID))) > 0
}

// refuses says why the node does not take the Pod, nil if it does, and all that is missing
// if that is the reason. m.mu is held.
func (m *Manager) refuses(pod *corev1.Pod) (why *plan.Refusal, missing []pressure.Shortage) {
	if m.closing {
		return &plan.Refusal{Reason: reasonNodeShutdown, Message: nodeShutdownMessage}, nil
	}
	if why, ok := pressure.Admits(m.conditions, pod, cgroups.QOSClass(pod)); !ok {
		return &plan.Refusal{Reason: reasonEvicted, Message: why}, nil
	}
	if refusal := refusedSecurity(m.cfg.Node, pod); refusal != nil {
		return refusal, nil
	}
	node, err := m.node()
	if err != nil {
		m.cfg.Log.Error("cannot read the node's object", "err", err)
		return &plan.Refusal{Reason: "InvalidNodeInfo", Message: "Kubelet cannot get node info."}, nil
	}
	return m.unfit(node, pod)
}

// unfit is the part of refuses that looks at the node and at the other Pods. Of two reasons
// a shortage is told, but to a critical Pod, which could end it.
func (m *Manager) unfit(node *corev1.Node, pod *corev1.Pod) (why *plan.Refusal, missing []pressure.Shortage) {
	wants := placeOf(pod)
	short, missing := m.placed.shortage(m.cfg.Allocatable, wants.requests)
	misplaced := misplaced(node, pod, m.placed.taken(wants.ports))
	critical := pressure.Critical(pod)
	switch {
	case misplaced != nil && (short == nil || critical):
		return misplaced, nil
	case !critical:
		return short, nil
	}
	return short, missing
}

// take gives a Pod its place. m.mu is held.
func (m *Manager) take(pod *corev1.Pod) {
	has := placeOf(pod)
	m.placed[pod.UID] = has
	if cgroups.QOSClass(pod) == corev1.PodQOSBurstable {
		m.burstable[pod.UID] = amount(corev1.ResourceCPU, has.requests)
		m.updateQOS()
	}
}

// makeRoom ends other Pods for a critical one and takes their place.
func (w *worker) makeRoom(ctx context.Context, missing []pressure.Shortage) {
	w.mu.Lock()
	pod := w.pod
	w.mu.Unlock()
	err := w.m.preempt(ctx, pod, missing)
	if ctx.Err() != nil {
		return
	}
	var refusal *plan.Refusal
	if err != nil {
		refusal = &plan.Refusal{Reason: "UnexpectedAdmissionError", Message: "Unexpected error while attempting to recover from admission failure: " + err.Error()}
	} else {
		w.m.mu.Lock()
		w.m.take(pod)
		w.m.mu.Unlock()
	}
	w.mu.Lock()
	w.refused = refusal
	w.mu.Unlock()
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

// taken says whether another Pod has one of the ports.
func (placed admitted) taken(ports []network.HostPort) bool {
	for _, other := range placed {
		for _, p := range ports {
			if slices.ContainsFunc(other.ports, p.Overlaps) {
				return true
			}
		}
	}
	return false
}

// shortage compares requests with what the Pods leave. CPU is counted in thousandths,
// all else in units, as in the kubelet's messages. The first shortage is the reason.
func (placed admitted) shortage(allocatable, requests corev1.ResourceList) (first *plan.Refusal, missing []pressure.Shortage) {
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
			used += amount(name, other.requests)
		}
		short(name, amount(name, requests), used, amount(name, corev1.ResourceList{name: capacity}))
	}
	return first, missing
}

func isHugePage(name corev1.ResourceName) bool {
	return len(name) > len(corev1.ResourceHugePagesPrefix) && name[:len(corev1.ResourceHugePagesPrefix)] == corev1.ResourceHugePagesPrefix
}

// amount is how much of a resource a list has, at most half of what the type holds:
// quantities may be larger, and then come out as any number, and sums are made.
func amount(name corev1.ResourceName, list corev1.ResourceList) int64 {
	const most = math.MaxInt64 / 2
	q := list[name]
	switch {
	case name == corev1.ResourceCPU && q.CmpInt64(most/1000) > 0, q.CmpInt64(most) > 0:
		return most
	case name == corev1.ResourceCPU:
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
