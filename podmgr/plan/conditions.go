// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Reasons of conditions, as the kubelet has them.
const (
	podCompleted             = "PodCompleted"
	podFailed                = "PodFailed"
	containersNotReady       = "ContainersNotReady"
	containersNotInitialized = "ContainersNotInitialized"
	readinessGatesNotReady   = "ReadinessGatesNotReady"
)

// conditions of the Pod: those of others as they were, then the kubelet's in its
// order.
func (v *view) conditions(s *corev1.PodStatus) []corev1.PodCondition {
	var all []corev1.PodCondition
	for _, c := range v.Last.Conditions {
		if !OwnsCondition(c) {
			all = append(all, c)
		}
	}
	if c := v.disruption(s); c != nil {
		all = slices.DeleteFunc(all, func(o corev1.PodCondition) bool { return o.Type == c.Type })
		all = append(all, *c)
	}
	all = append(all, v.resizeConditions(s.Phase)...)
	containersReady := v.containersReady(s)
	for _, c := range []corev1.PodCondition{
		v.sandboxReady(), v.initializedCondition(s), v.podReady(containersReady, all), containersReady,
		{Type: corev1.PodScheduled, Status: corev1.ConditionTrue},
	} {
		all = append(all, v.dated(c))
	}
	if couldRestartAll(&v.Pod.Spec) {
		all = append(all, v.dated(v.restartingCondition(s.Phase)))
	}
	return all
}

// OwnsCondition says whether a condition of a Pod is the node's own. The others come
// from outside, readiness gates for instance, and are kept as they are in Input.Last.
// DisruptionTarget is whose reason says it is.
func OwnsCondition(c corev1.PodCondition) bool {
	switch c.Type {
	case corev1.PodReadyToStartContainers, corev1.PodInitialized, corev1.PodReady, corev1.ContainersReady, corev1.PodScheduled,
		corev1.AllContainersRestarting, corev1.PodResizePending, corev1.PodResizeInProgress:
		return true
	case corev1.DisruptionTarget:
		return c.Reason == corev1.PodReasonTerminationByKubelet
	}
	return false
}

// dated sets the generation and the transition time, which is the last one's as
// long as the status stays.
func (v *view) dated(c corev1.PodCondition) corev1.PodCondition {
	c.ObservedGeneration = v.Pod.Generation
	c.LastTransitionTime = apiTime(v.Now)
	if old := v.lastCondition(c.Type); old != nil && old.Status == c.Status {
		c.LastTransitionTime = old.LastTransitionTime
	}
	return c
}

func (v *view) lastCondition(t corev1.PodConditionType) *corev1.PodCondition {
	return findCondition(v.Last.Conditions, t)
}

func (v *view) sandboxReady() corev1.PodCondition {
	return corev1.PodCondition{Type: corev1.PodReadyToStartContainers, Status: truth(v.ready())}
}

// initializedCondition: once true it stays true, also when init containers run
// again later on.
func (v *view) initializedCondition(s *corev1.PodStatus) corev1.PodCondition {
	c := corev1.PodCondition{Type: corev1.PodInitialized, Status: corev1.ConditionTrue}
	if s.Phase == corev1.PodSucceeded {
		c.Reason = podCompleted
		return c
	}
	for _, app := range s.ContainerStatuses {
		if app.State.Running != nil || app.State.Terminated != nil {
			return c
		}
	}
	var incomplete []string
	for i, m := range v.inits {
		status := &s.InitContainerStatuses[i]
		if m.role == sidecarRole && !*status.Started || m.role == initRole && !status.Ready {
			incomplete = append(incomplete, m.spec.Name)
		}
	}
	if len(incomplete) == 0 {
		return c
	}
	if old := v.lastCondition(corev1.PodInitialized); old != nil && old.Status == corev1.ConditionTrue {
		return c
	}
	c.Status, c.Reason = corev1.ConditionFalse, containersNotInitialized
	c.Message = fmt.Sprintf("containers with incomplete status: %s", incomplete)
	return c
}

func (v *view) containersReady(s *corev1.PodStatus) corev1.PodCondition {
	c := corev1.PodCondition{Type: corev1.ContainersReady, Status: corev1.ConditionFalse}
	switch {
	case s.Phase == corev1.PodSucceeded:
		c.Reason = podCompleted
		return c
	case s.Phase == corev1.PodFailed || v.timedOut(s): // before its containers have ended
		c.Reason = podFailed
		return c
	}
	var unready []string
	for i, m := range v.inits {
		if m.role == sidecarRole && !s.InitContainerStatuses[i].Ready {
			unready = append(unready, m.spec.Name)
		}
	}
	for i, m := range v.apps {
		if !s.ContainerStatuses[i].Ready {
			unready = append(unready, m.spec.Name)
		}
	}
	if len(unready) > 0 {
		c.Reason = containersNotReady
		c.Message = fmt.Sprintf("containers with unready status: %s", unready)
		return c
	}
	c.Status = corev1.ConditionTrue
	return c
}

// podReady is that of the containers, and then the readiness gates'.
func (v *view) podReady(containers corev1.PodCondition, others []corev1.PodCondition) corev1.PodCondition {
	c := containers
	c.Type = corev1.PodReady
	if c.Status != corev1.ConditionTrue {
		return c
	}
	var open []string
	for _, gate := range v.Pod.Spec.ReadinessGates {
		found := false
		for _, o := range others {
			if o.Type != gate.ConditionType {
				continue
			}
			found = true
			if o.Status != corev1.ConditionTrue {
				open = append(open, fmt.Sprintf("the status of pod readiness gate %q is not \"True\", but %v", gate.ConditionType, o.Status))
			}
		}
		if !found {
			open = append(open, fmt.Sprintf("corresponding condition of pod readiness gate %q does not exist.", gate.ConditionType))
		}
	}
	if len(open) > 0 {
		c.Status, c.Reason, c.Message = corev1.ConditionFalse, readinessGatesNotReady, strings.Join(open, ", ")
	}
	return c
}

func truth(b bool) corev1.ConditionStatus {
	if b {
		return corev1.ConditionTrue
	}
	return corev1.ConditionFalse
}
