// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"time"

	corev1 "k8s.io/api/core/v1"
)

// A restart rule with the action RestartAllContainers ends all containers of the Pod
// and runs them again, init containers first, in the same sandbox and with the same
// volumes (KEP-5532). Each such restart begins a round. The records of the containers
// say which one it is: nothing else has to be remembered. Ephemeral containers are left
// alone.

// The kubelet's words for a restart of all containers.
const (
	restartingAllContainers     = "RestartingAllContainers"
	restartAllContainersStarted = "RestartAllContainersStarted"
	restartAllConditionMessage  = "container exited with restart policy rule"
	restartAllMessage           = "The container is removed because RestartAllContainers in place"
	restartAllKilling           = "killing"
)

// restartsAll says whether the end of an attempt restarts all containers.
func restartsAll(spec *corev1.Container, c *Container) bool {
	if c.State != Exited && c.State != Unknown {
		return false
	}
	r := matchingRule(spec, exitCode(c))
	return r != nil && r.Action == corev1.ContainerRestartRuleActionRestartAllContainers
}

// couldRestartAll says whether a container has a rule that restarts all of them.
func couldRestartAll(spec *corev1.PodSpec) bool {
	for _, list := range [][]corev1.Container{spec.InitContainers, spec.Containers} {
		for i := range list {
			for _, r := range list[i].RestartPolicyRules {
				if r.Action == corev1.ContainerRestartRuleActionRestartAllContainers {
					return true
				}
			}
		}
	}
	return false
}

// findRound sees which round it is: the newest that there is a container of, or the
// one after it when a container's end asks for that and nothing of this one runs any
// more.
func (v *view) findRound(byName map[string][]*Container) {
	for i := range v.Seen.Containers {
		v.round = max(v.round, v.Seen.Containers[i].Round)
	}
	if !couldRestartAll(&v.Pod.Spec) {
		return
	}
	quiet := true
	for _, list := range []struct {
		specs    []corev1.Container
		statuses []corev1.ContainerStatus
	}{{v.Pod.Spec.InitContainers, v.Last.InitContainerStatuses}, {v.Pod.Spec.Containers, v.Last.ContainerStatuses}} {
		for i := range list.specs {
			spec := &list.specs[i]
			var newest *Container
			for _, c := range byName[spec.Name] {
				quiet = quiet && c.State != Running
				if wasStarted(c, findStatus(list.statuses, c.Name)) && (newest == nil || c.Attempt > newest.Attempt) {
					newest = c
				}
			}
			quiet = quiet && !v.Seen.Busy[Action{Kind: CreateContainer, Container: spec.Name}.Key()]
			v.restarting = v.restarting || newest != nil && newest.Round == v.round && restartsAll(spec, newest)
		}
	}
	if v.restarting && quiet {
		v.round++
	}
}

// endRound stops what runs of a round that is over, with no grace period and without
// preStop hooks, and says whether there is anything left of it.
func (v *view) endRound(d *draft) (left bool) {
	if !v.restarting {
		return false
	}
	for _, m := range v.regular() {
		if m.running() {
			d.do(stopping(StopContainer, m.ran, v.roundEnded().Add(minGrace), restartAllKilling))
			left = true
		}
		left = left || m.ran != nil && m.ran.Round == v.round || v.Seen.Busy[m.key()]
	}
	return left
}

// roundEnded is when a container's end asked for a restart of all.
func (v *view) roundEnded() time.Time {
	at := v.Now
	for _, m := range v.regular() {
		if m.ran != nil && restartsAll(m.spec, m.ran) && m.ran.FinishedAt.Before(at) {
			at = m.ran.FinishedAt
		}
	}
	return at
}

// endedWithRound is how the last attempt of a round ended. The one that asked for the
// restart of all keeps its own end; all others are marked, whatever became of them.
func endedWithRound(m *member, c *Container) *corev1.ContainerStateTerminated {
	t := ended(c)
	if !restartsAll(m.spec, c) {
		t.Reason, t.Message, t.ExitCode, t.Signal = restartingAllContainers, restartAllMessage, 137, 0
	}
	return t
}

// restartingCondition tells of a restart of all containers, in Pods that may see one.
func (v *view) restartingCondition(phase corev1.PodPhase) corev1.PodCondition {
	c := corev1.PodCondition{Type: corev1.AllContainersRestarting, Status: corev1.ConditionFalse}
	switch {
	case phase == corev1.PodSucceeded:
		c.Reason = podCompleted
	case phase == corev1.PodFailed:
		c.Reason = podFailed
	case v.restarting:
		c.Status, c.Reason, c.Message = corev1.ConditionTrue, restartAllContainersStarted, restartAllConditionMessage
	}
	return c
}
