// SPDX-License-Identifier: Apache-2.0

package plan

import corev1 "k8s.io/api/core/v1"

// phase of the Pod by what its containers do (the kubelet's getPhase). over: they
// all ended and none will be started again, whatever the restart policy says.
func (v *view) phase(s *corev1.PodStatus, over bool) corev1.PodPhase {
	if v.initFailed(s, over) {
		return corev1.PodFailed
	}
	if v.initPending(s) {
		return corev1.PodPending
	}
	var running, waiting, stopped, final, succeeded int
	for i, m := range v.apps {
		c := &s.ContainerStatuses[i]
		switch t := termination(c); {
		case c.State.Running != nil:
			running++
		case t == nil:
			waiting++
		default:
			stopped++
			if over || !v.comesBack(m) {
				final++
			}
			if c.State.Terminated != nil && t.ExitCode == 0 {
				succeeded++
			}
		}
	}
	for i, m := range v.inits {
		if m.role == sidecarRole && s.InitContainerStatuses[i].State.Running != nil {
			running++
		}
	}
	switch {
	case waiting > 0:
		return corev1.PodPending
	case running > 0 || final < stopped:
		return corev1.PodRunning
	case stopped == succeeded:
		return corev1.PodSucceeded
	default:
		return corev1.PodFailed
	}
}

// outcome of a Pod whose apps all ended for good, whether sidecars still run or
// not; empty as long as there is something left to do.
func (v *view) outcome(s *corev1.PodStatus) corev1.PodPhase {
	if v.initFailed(s, false) {
		return corev1.PodFailed
	}
	result := corev1.PodSucceeded
	for i, m := range v.apps {
		t := s.ContainerStatuses[i].State.Terminated
		if t == nil || v.comesBack(m) {
			return ""
		}
		if t.ExitCode != 0 {
			result = corev1.PodFailed
		}
	}
	return result
}

// initFailed says whether an init container failed that will not be retried.
func (v *view) initFailed(s *corev1.PodStatus, over bool) bool {
	for i, m := range v.inits {
		if m.role == sidecarRole || s.InitContainerStatuses[i].State.Running != nil {
			continue
		}
		t := termination(&s.InitContainerStatuses[i])
		if t != nil && t.ExitCode != 0 && (over || !v.comesBack(m)) {
			return true
		}
	}
	return false
}

// initPending says whether the Pod is still initialising. A sidecar that restarts
// later on does not count.
func (v *view) initPending(s *corev1.PodStatus) bool {
	active := v.appRan()
	for i, m := range v.inits {
		c := &s.InitContainerStatuses[i]
		t := termination(c)
		switch {
		case m.role == initRole && (c.State.Running != nil || t == nil):
			return true
		case m.role == initRole && c.State.Waiting != nil && t.ExitCode == 0: // it runs again in a new sandbox
			return true
		case m.role == sidecarRole && !active && c.State.Terminated == nil && !*c.Started && c.LastTerminationState.Terminated == nil:
			return true
		}
	}
	return false
}

// termination is the end of a container that does not run: this one's, or that of
// the attempt before the one that it waits for.
func termination(c *corev1.ContainerStatus) *corev1.ContainerStateTerminated {
	if c.State.Waiting != nil {
		return c.LastTerminationState.Terminated
	}
	return c.State.Terminated
}
