// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// report makes the Pod's status. ending: nothing will be started any more.
func (v *view) report(ending bool) corev1.PodStatus {
	if v.refusedBefore() {
		return v.Last
	}
	start := metav1.NewTime(v.startTime())
	s := corev1.PodStatus{
		ObservedGeneration: v.Pod.Generation,
		StartTime:          &start,
		QOSClass:           v.QOSClass,
	}
	if s.QOSClass == "" {
		s.QOSClass = v.Last.QOSClass
	}
	if v.Refused != nil && !terminal(v.Last.Phase) && len(v.Last.ContainerStatuses) == 0 && len(v.Seen.Containers) == 0 {
		s.Phase, s.Reason, s.Message = corev1.PodFailed, v.Refused.Reason, "Pod was rejected: "+v.Refused.Message
		return s
	}
	v.addresses(&s)
	v.podResources(&s)
	for _, m := range v.inits {
		s.InitContainerStatuses = append(s.InitContainerStatuses, v.status(m, ending))
	}
	for _, m := range v.apps {
		s.ContainerStatuses = append(s.ContainerStatuses, v.status(m, ending))
	}
	for _, m := range v.ephemerals {
		s.EphemeralContainerStatuses = append(s.EphemeralContainerStatuses, v.ephemeralStatus(m, ending))
	}
	v.settlePhase(&s, ending)
	if ending && terminal(s.Phase) {
		markLost(&s, len(v.inits) > 0)
	}
	s.Conditions = v.conditions(&s)
	return s
}

// refusedBefore says whether the Pod was turned down, perhaps by an earlier agent: it
// ended without a container. Its status stays as it is.
func (v *view) refusedBefore() bool {
	return terminal(v.Last.Phase) && len(v.Last.ContainerStatuses) == 0 && len(v.Seen.Containers) == 0 && len(v.Seen.Sandboxes) == 0
}

// settlePhase sets phase, reason and message. A terminal phase is reported only
// when nothing runs any more, and then for good.
func (v *view) settlePhase(s *corev1.PodStatus, ending bool) {
	over := ending && v.quiet()
	switch {
	case terminal(v.Last.Phase):
		s.Phase, s.Reason, s.Message = v.Last.Phase, v.Last.Reason, v.Last.Message
		return
	case over && v.ended():
		v.settleEnd(s)
		return
	case over && v.Refused != nil:
		s.Phase, s.Reason, s.Message = corev1.PodFailed, v.Refused.Reason, "Pod was rejected: "+v.Refused.Message
		return
	case over && v.timedOut(s):
		s.Phase, s.Reason, s.Message = corev1.PodFailed, deadlineExceeded, deadlineMessage
		return
	case over:
		s.Phase = v.phase(s, true)
		if !terminal(s.Phase) { // it was ended before it came to run
			s.Phase = corev1.PodFailed
		}
	default:
		s.Phase = v.phase(s, false)
		if terminal(s.Phase) { // something still runs or is about to
			s.Phase = v.Last.Phase
		}
		if s.Phase == "" {
			s.Phase = corev1.PodPending
		}
	}
	if s.Phase == v.Last.Phase {
		s.Reason, s.Message = v.Last.Reason, v.Last.Message
	}
}

// timedOut says whether the Pod fails because its deadline is over.
func (v *view) timedOut(s *corev1.PodStatus) bool {
	return !terminal(v.Last.Phase) && !v.ended() && v.Refused == nil && v.overdue() && !v.finishedInTime(s)
}

// finishedInTime says whether the Pod came to its end by itself before its deadline.
func (v *view) finishedInTime(s *corev1.PodStatus) bool {
	if v.outcome(s) == "" {
		return false
	}
	for _, m := range v.regular() {
		if m.role != sidecarRole && m.ran != nil && !m.ran.FinishedAt.Before(v.activeDeadline()) {
			return false
		}
	}
	return true
}

// addresses of the Pod and of its node. The Pod's stay shown when its sandbox is
// gone, and the node's, once the Pod has ended, as they were.
func (v *view) addresses(s *corev1.PodStatus) {
	if terminal(v.Last.Phase) && v.Last.HostIP != "" {
		s.HostIP, s.HostIPs, s.PodIP, s.PodIPs = v.Last.HostIP, v.Last.HostIPs, v.Last.PodIP, v.Last.PodIPs
		return
	}
	for i, ip := range v.Node.HostIPs {
		if i == 0 {
			s.HostIP = ip
		}
		s.HostIPs = append(s.HostIPs, corev1.HostIP{IP: ip})
	}
	switch {
	case v.Pod.Spec.HostNetwork:
		for _, ip := range v.Node.HostIPs {
			s.PodIPs = append(s.PodIPs, corev1.PodIP{IP: ip})
		}
	case v.ready() && len(v.sandbox.IPs) > 0:
		for _, ip := range v.sandbox.IPs {
			s.PodIPs = append(s.PodIPs, corev1.PodIP{IP: ip})
		}
	default:
		s.PodIPs = append(s.PodIPs, v.Last.PodIPs...)
	}
	if len(s.PodIPs) > 0 {
		s.PodIP = s.PodIPs[0].IP
	}
}

// announce adds the events that only this package can know of, each when what it
// tells appears in the status for the first time.
func (v *view) announce(d *draft, s *corev1.PodStatus) {
	if s.Phase == corev1.PodFailed && v.Last.Phase != corev1.PodFailed {
		if v.Refused != nil {
			d.event(corev1.EventTypeWarning, s.Reason, v.Refused.Message, "")
		}
	}
	if c := v.lastCondition(corev1.ContainersReady); v.timedOut(s) && (c == nil || c.Reason != podFailed) {
		d.event(corev1.EventTypeNormal, deadlineExceeded, deadlineMessage, "")
	}
	v.announceResize(d, s)
	v.announceWaiting(d, v.Last.InitContainerStatuses, s.InitContainerStatuses)
	v.announceWaiting(d, v.Last.ContainerStatuses, s.ContainerStatuses)
	v.announceWaiting(d, v.Last.EphemeralContainerStatuses, s.EphemeralContainerStatuses)
}

// imageOf is a container's image as its spec names it.
func (v *view) imageOf(container string) string {
	for _, m := range v.members() {
		if m.spec.Name == container {
			return m.spec.Image
		}
	}
	return ""
}

func (v *view) announceWaiting(d *draft, last, now []corev1.ContainerStatus) {
	for _, c := range now {
		w := c.State.Waiting
		if w == nil {
			continue
		}
		if old := findStatus(last, c.Name); old != nil && old.State.Waiting != nil && old.State.Waiting.Reason == w.Reason {
			continue
		}
		switch w.Reason {
		case invalidImageName:
			d.event(corev1.EventTypeWarning, "InspectFailed", w.Message, c.Name)
		case crashLoopBackOff:
			d.event(corev1.EventTypeWarning, "BackOff",
				fmt.Sprintf("Back-off restarting failed container %s in pod %s", c.Name, v.podName()), c.Name)
		case imagePullBackOff:
			d.event(corev1.EventTypeNormal, "BackOff", fmt.Sprintf("Back-off pulling image %q", v.imageOf(c.Name)), c.Name)
		case errImageNeverPull:
			d.event(corev1.EventTypeWarning, errImageNeverPull, w.Message, c.Name)
		}
		switch w.Reason {
		case imagePullBackOff, errImageNeverPull, invalidImageName: // a pull tells its failure itself
			d.event(corev1.EventTypeWarning, "Failed", "Error: "+w.Reason, c.Name)
		}
	}
}
