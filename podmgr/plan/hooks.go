// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"time"

	corev1 "k8s.io/api/core/v1"
)

// The kubelet's words for a container whose postStart hook failed.
const (
	postStartHookError  = "PostStartHookError"
	failedPostStartHook = "FailedPostStartHook"
)

// settingUp says whether a running container's postStart hook has not succeeded yet.
// Until then it counts as waiting. That it was reported as running says that the
// hook is over, whatever agent ran it; without that it is run again: at least once,
// as Kubernetes promises.
func settingUp(m *member) bool {
	if !m.running() || m.spec.Lifecycle == nil || m.spec.Lifecycle.PostStart == nil || m.ran.PostStart.Result == ProbeSucceeded {
		return false
	}
	reported := m.last != nil && m.last.State.Running != nil && m.last.ContainerID == containerID(m.ran.ID)
	return m.ran.PostStart.Result == ProbeFailed || !reported
}

// setUp runs a container's postStart hook, and ends the container when that failed.
func (v *view) setUp(d *draft, m *member) {
	if m.ran.PostStart.Result == ProbeFailed {
		v.stop(d, m.ran, v.Now.Add(v.grace()), failedPostStartHook)
		return
	}
	d.do(Action{Kind: PostStart, Container: m.spec.Name, ID: m.ran.ID, Attempt: m.ran.Attempt})
}

// settingUpState is what is reported of a container whose postStart hook is not over.
func (v *view) settingUpState(m *member) corev1.ContainerState {
	if m.ran.PostStart.Result == ProbeFailed {
		return v.waitingState(postStartHookError, m.ran.PostStart.Message)
	}
	return v.waitingState("", "")
}

// preStopDue says whether a container's preStop hook is to be run before its stop.
// With a grace period of 0 there is no time for it.
func (v *view) preStopDue(c *Container, deadline time.Time) bool {
	return v.hasPreStop(c) && c.PreStop.Result == "" && v.Now.Before(deadline) && v.mayDelay()
}

func (v *view) hasPreStop(c *Container) bool {
	for _, m := range v.members() {
		if m.spec.Name == c.Name {
			return m.spec.Lifecycle != nil && m.spec.Lifecycle.PreStop != nil
		}
	}
	return false
}

// mayDelay says whether the Pod has a grace period at all.
func (v *view) mayDelay() bool {
	if s := v.Pod.DeletionGracePeriodSeconds; v.deleted() && s != nil {
		return *s > 0
	}
	s := v.Pod.Spec.TerminationGracePeriodSeconds
	return s == nil || *s > 0
}

// afterPreStop is when SIGKILL is due for a container whose preStop hook is over:
// the hook's time counts, but there are two seconds left in any case.
func afterPreStop(c *Container, deadline time.Time) time.Time {
	if c.PreStop.Result == "" {
		return deadline
	}
	if by := c.PreStop.Deadline; !by.IsZero() && by.Before(deadline) {
		deadline = by
	}
	if least := c.PreStop.EndedAt.Add(minGrace); deadline.Before(least) {
		return least
	}
	return deadline
}
