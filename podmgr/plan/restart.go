// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// unknownExit is the exit code of a container that ended without a record, as
// containerd's CRI has it after a reboot.
const unknownExit = 255

// exitCode of an ended container.
func exitCode(c *Container) int32 {
	if c.State == Unknown {
		return unknownExit
	}
	return c.ExitCode
}

// wanted says whether a start of the container is due by the rules of restarts
// alone, its turn and its back-off left aside.
func (v *view) wanted(m *member) bool {
	switch {
	case m.role == ephemeralRole:
		return !startedOnce(m)
	case m.ran == nil:
		return true
	case m.running():
		return false
	case v.startsOver() || v.changed(m.ran) || v.restarting || m.ran.Round < v.round:
		return true
	case m.ran.Replaced:
		return m.role != initRole
	case m.role == initRole:
		return !v.succeeded(m)
	default:
		return shouldRestart(m.spec, &v.Pod.Spec, exitCode(m.ran))
	}
}

// succeeded says whether an init container ran to success in this sandbox.
func (v *view) succeeded(m *member) bool {
	return m.ran != nil && m.ran.State == Exited && m.ran.ExitCode == 0 && v.current(m.ran)
}

// comesBack says whether an ended container will run again, in this sandbox or in
// the next: what the Pod's phase depends on.
func (v *view) comesBack(m *member) bool {
	if m.role == initRole && m.ran != nil && !m.running() && exitCode(m.ran) != 0 {
		return v.startsOver() || v.changed(m.ran) || v.restarting || m.ran.Round < v.round || shouldRestart(m.spec, &v.Pod.Spec, exitCode(m.ran))
	}
	return v.wanted(m)
}

// shouldRestart is the restart policy of an ended container: its own rules first,
// in order, then its own policy, then the Pod's. Always means OnFailure for an
// init container, whose success is looked at before.
func shouldRestart(c *corev1.Container, spec *corev1.PodSpec, exit int32) bool {
	policy := spec.RestartPolicy
	if c.RestartPolicy != nil {
		if matchingRule(c, exit) != nil {
			return true
		}
		policy = corev1.RestartPolicy(*c.RestartPolicy)
	}
	switch policy {
	case corev1.RestartPolicyNever:
		return false
	case corev1.RestartPolicyOnFailure:
		return exit != 0
	default:
		return true
	}
}

// restartable says whether a container that the node stops comes back by its policy. Rules
// are not asked: it has no exit code yet.
func restartable(c *corev1.Container, spec *corev1.PodSpec) bool {
	if c.RestartPolicy != nil {
		return *c.RestartPolicy != corev1.ContainerRestartPolicyNever
	}
	return spec.RestartPolicy != corev1.RestartPolicyNever
}

// matchingRule is the first restart rule that applies to the exit code, nil if none
// does. All actions of Kubernetes 1.36 mean a restart of the container at least.
func matchingRule(c *corev1.Container, exit int32) *corev1.ContainerRestartRule {
	for i := range c.RestartPolicyRules {
		r := &c.RestartPolicyRules[i]
		if r.ExitCodes == nil {
			continue
		}
		listed := false
		for _, code := range r.ExitCodes.Values {
			listed = listed || code == exit
		}
		if listed == (r.ExitCodes.Operator == corev1.ContainerRestartRuleOnExitCodesOpIn) {
			return r
		}
	}
	return nil
}

// attempt is the number of the next attempt at a container. Counts go on over
// sandboxes and over records that are no longer there.
func (m *member) attempt() int {
	next := 0
	if m.ran != nil {
		next = m.ran.Attempt + 1
	}
	if l := m.last; l != nil {
		started := l.State.Running != nil || l.State.Terminated != nil || l.LastTerminationState.Terminated != nil
		if started && int(l.RestartCount) >= next {
			next = int(l.RestartCount) + 1
		}
	}
	return next
}

// backOff of the container's next start: until when it waits, and which delay is
// to be recorded with it.
func (v *view) backOff(m *member) (until time.Time, record time.Duration) {
	if m.ran == nil && m.attempt() > 0 {
		return time.Time{}, crashFirst
	}
	return crashLoop(m.ran, m.ran != nil && v.startsAfresh(m))
}

// startsAfresh says whether the next attempt of a container is not a repetition of the
// last: its image or its resources are others, or another container made all of them
// restart.
func (v *view) startsAfresh(m *member) bool {
	victim := m.ran.Round < v.round && !restartsAll(m.spec, m.ran)
	return victim || v.changed(m.ran) || v.wrongSize(m.spec, m.ran)
}

// backingOff says whether the container's next start waits for its back-off, with
// the message that the kubelet gives.
func (v *view) backingOff(m *member) (until time.Time, message string) {
	if m.made != nil || m.ran == nil || !v.wanted(m) {
		return time.Time{}, ""
	}
	if until, _ = v.backOff(m); !v.Now.Before(until) {
		return time.Time{}, ""
	}
	return until, fmt.Sprintf("back-off %s restarting failed container=%s pod=%s", m.ran.BackOff, m.spec.Name, v.podName())
}

// podName as the kubelet writes it in messages.
func (v *view) podName() string {
	return fmt.Sprintf("%s_%s(%s)", v.Pod.Name, v.Pod.Namespace, v.Pod.UID)
}

// started says whether a container counts as started: it runs, its postStart hook is
// over, and its startup probe, if it has one, succeeded.
func started(m *member) bool {
	return m.running() && !settingUp(m) && (m.spec.StartupProbe == nil || m.ran.Probes.Startup == ProbeSucceeded)
}

// isReady says whether a started container counts as ready.
func isReady(m *member) bool {
	return started(m) && (m.spec.ReadinessProbe == nil || m.ran.Probes.Readiness == ProbeSucceeded)
}

// unhealthy is why a running container has to be restarted; empty if it is not.
func (v *view) unhealthy(m *member) (message string) {
	kind := "Container"
	if m.role != appRole {
		kind = "Init container"
	}
	switch {
	case v.changed(m.ran):
		return fmt.Sprintf("%s %s definition changed", kind, m.spec.Name)
	case m.spec.LivenessProbe != nil && started(m) && m.ran.Probes.Liveness == ProbeFailed:
		return fmt.Sprintf("%s %s failed liveness probe", kind, m.spec.Name)
	case m.spec.StartupProbe != nil && m.ran.Probes.Startup == ProbeFailed:
		return fmt.Sprintf("%s %s failed startup probe", kind, m.spec.Name)
	}
	return ""
}
