// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Waiting and termination reasons of Kubernetes.
const (
	containerCreating      = "ContainerCreating"
	podInitializing        = "PodInitializing"
	crashLoopBackOff       = "CrashLoopBackOff"
	createContainerError   = "CreateContainerError"
	runContainerError      = "RunContainerError"
	containerStatusUnknown = "ContainerStatusUnknown"
)

// status of one container. ending: the Pod is at its end, nothing will be started.
func (v *view) status(m *member, ending bool) corev1.ContainerStatus {
	s := corev1.ContainerStatus{
		Name:         m.spec.Name,
		Image:        m.spec.Image,
		VolumeMounts: volumeMounts(m.spec, v.Node.RecursiveReadOnly),
		State:        v.waitingState("", ""),
	}
	v.fromRecord(m, &s)
	v.resources(m, &s)
	switch {
	case m.role == initRole && v.appRan():
		if s.State.Waiting != nil {
			s.State = corev1.ContainerState{Terminated: inferred()}
		}
	case m.role == initRole && v.past(m): // without a record it is as it was
	case !ending:
		v.whileWaiting(m, &s)
	}
	up, ready := started(m), isReady(m)
	if m.role == initRole {
		ready = s.State.Terminated != nil && s.State.Terminated.ExitCode == 0
	}
	s.Started, s.Ready = &up, ready
	return s
}

// fromRecord fills in what is known of the container's newest attempt that was
// started, or, without a record of it, what was reported last. One that is only
// created counts as not there yet.
func (v *view) fromRecord(m *member, s *corev1.ContainerStatus) {
	last := m.last
	if m.ran == nil {
		if last == nil {
			return
		}
		s.RestartCount, s.LastTerminationState = last.RestartCount, last.LastTerminationState
		switch {
		case last.State.Terminated != nil: // stays as it was
			s.State, s.ContainerID, s.Image, s.ImageID = last.State, last.ContainerID, last.Image, last.ImageID
			s.User, s.StopSignal = last.User, last.StopSignal
		case last.State.Running != nil:
			s.LastTerminationState.Terminated = lost("The container could not be located when the pod was deleted.  The container used to be Running")
		}
		return
	}
	s.RestartCount = int32(m.ran.Attempt)
	s.ContainerID, s.ImageID, s.User = containerID(m.ran.ID), m.ran.ImageID, m.ran.User
	if m.ran.Image != "" {
		s.Image = m.ran.Image
	}
	if m.ran.StopSignal != "" {
		s.StopSignal = &m.ran.StopSignal
	}
	if settingUp(m) {
		s.State = v.settingUpState(m)
	} else if m.running() {
		s.State = corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: apiTime(m.ran.StartedAt)}}
	} else {
		s.State = corev1.ContainerState{Terminated: ended(m.ran)}
	}
	if m.before != nil {
		s.LastTerminationState.Terminated = endedBefore(m)
	}
	if last == nil {
		return
	}
	s.RestartCount = max(s.RestartCount, last.RestartCount)
	if m.before == nil {
		s.LastTerminationState = last.LastTerminationState
		if last.ContainerID != s.ContainerID && last.State.Terminated != nil {
			s.LastTerminationState.Terminated = last.State.Terminated
		}
	}
	if t := s.LastTerminationState.Terminated; t != nil && t.ContainerID == s.ContainerID {
		// It was waiting to be restarted and is reported as ended again.
		s.LastTerminationState = corev1.ContainerState{}
		if m.before != nil {
			s.LastTerminationState.Terminated = endedBefore(m)
		}
	}
}

// endedBefore is the end of the attempt before the newest.
func endedBefore(m *member) *corev1.ContainerStateTerminated {
	if m.before.Round < m.ran.Round {
		return endedWithRound(m, m.before)
	}
	return ended(m.before)
}

// whileWaiting says of a container that is not running why it isn't.
func (v *view) whileWaiting(m *member, s *corev1.ContainerStatus) {
	if m.running() || !v.wanted(m) {
		return
	}
	reason, message := "", ""
	if v.hasTurn(m) {
		if reason, message = v.trouble(m); reason == "" {
			reason, message = v.lastTrouble(m)
		}
	}
	afresh := m.ran == nil || !v.current(m.ran) // never ran in this sandbox
	if reason == "" && !afresh {
		return
	}
	if s.State.Terminated != nil {
		s.LastTerminationState = s.State
	}
	if m.ran != nil && m.ran.Round < v.round {
		s.LastTerminationState.Terminated = endedWithRound(m, m.ran)
		if reason == "" {
			reason, message = restartingAllContainers, restartAllMessage
		}
	}
	s.State = v.waitingState(reason, message)
}

// trouble is what keeps a container from starting whose turn it is.
func (v *view) trouble(m *member) (reason, message string) {
	if f, ok := v.Seen.Failures[m.key()]; ok && (f.Kind == CreateContainer || f.Kind == StartContainer || f.Kind == "") {
		if m.ran == nil || !f.At.Before(m.ran.FinishedAt) && (f.Waits || v.Now.Before(f.At.Add(max(settle, retryDelay(f.Count))))) {
			return failureReason(f), f.Message
		}
	}
	if until, text := v.backingOff(m); !until.IsZero() {
		if v.Now.Before(m.ran.FinishedAt.Add(settle)) {
			return "", ""
		}
		return crashLoopBackOff, text
	}
	if m.made != nil {
		return "", ""
	}
	return v.imageTrouble(m)
}

// lastTrouble is what was last told of a container that still waits for the same start: as
// in the kubelet, that holds until it is started, also while a pull is tried again or the
// back-off is just over.
func (v *view) lastTrouble(m *member) (reason, message string) {
	if m.last == nil || m.last.State.Waiting == nil {
		return "", ""
	}
	if m.ran != nil && (!v.current(m.ran) || int(m.last.RestartCount) != m.ran.Attempt) {
		return "", ""
	}
	switch w := m.last.State.Waiting; w.Reason {
	case containerCreating, podInitializing, restartingAllContainers:
		return "", ""
	default:
		return w.Reason, w.Message
	}
}

func failureReason(f Failure) string {
	switch {
	case f.Reason != "":
		return f.Reason
	case f.Kind == StartContainer:
		return runContainerError
	default:
		return createContainerError
	}
}

// hasTurn says whether the container would be started now if it could be.
func (v *view) hasTurn(m *member) bool {
	if v.startsOver() {
		return false
	}
	if m.role == ephemeralRole {
		return true
	}
	turn, _ := v.order()
	for _, t := range turn {
		if t == m {
			return true
		}
	}
	return false
}

// waitingState with a reason, or with the one of a Pod that is on its way.
func (v *view) waitingState(reason, message string) corev1.ContainerState {
	if reason == "" {
		reason = containerCreating
		if len(v.inits) > 0 {
			reason = podInitializing
		}
	}
	return corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}}
}

// ended is how an attempt ended, with the reasons of containerd's CRI.
func ended(c *Container) *corev1.ContainerStateTerminated {
	t := &corev1.ContainerStateTerminated{
		ExitCode:    exitCode(c),
		Signal:      c.Signal,
		Message:     c.Message,
		StartedAt:   apiTime(c.StartedAt),
		FinishedAt:  apiTime(c.FinishedAt),
		ContainerID: containerID(c.ID),
	}
	switch {
	case c.State == Unknown:
		t.Reason = "Unknown"
	case c.OOMKilled:
		t.Reason = "OOMKilled"
	case c.StartedAt.IsZero():
		t.Reason = "StartError"
	case c.ExitCode == 0:
		t.Reason = "Completed"
	default:
		t.Reason = "Error"
	}
	return t
}

// inferred is the end of an init container without a record in a Pod whose apps ran.
func inferred() *corev1.ContainerStateTerminated {
	return &corev1.ContainerStateTerminated{Reason: "Completed",
		Message: "Unable to get init container status from container runtime and pod has been initialized, treat it as exited normally"}
}

// lost is the end of a container that nobody saw.
func lost(message string) *corev1.ContainerStateTerminated {
	return &corev1.ContainerStateTerminated{Reason: containerStatusUnknown, Message: message, ExitCode: 137}
}

// markLost gives every container of a Pod that is over an end: those of which none
// is known are reported as lost, except init containers and apps whose turn never
// came (the status manager's TerminatePod).
func markLost(s *corev1.PodStatus, hasInits bool) {
	const message = "The container could not be located when the pod was terminated"
	begun := 0
	for i, c := range s.InitContainerStatuses {
		if c.State.Waiting == nil || c.LastTerminationState.Terminated != nil {
			begun = i + 1
		}
	}
	initialized := !hasInits
	if n := len(s.InitContainerStatuses); n > 0 {
		begun = max(begun, 1)
		t := s.InitContainerStatuses[n-1].State.Terminated
		initialized = initialized || t != nil && t.ExitCode == 0
	}
	for _, c := range s.ContainerStatuses {
		initialized = initialized || c.State.Waiting == nil || c.LastTerminationState.Terminated != nil
	}
	mark := func(list []corev1.ContainerStatus) {
		for i := range list {
			if list[i].State.Terminated == nil {
				list[i].State = corev1.ContainerState{Terminated: lost(message)}
			}
		}
	}
	mark(s.InitContainerStatuses[:begun])
	if initialized {
		mark(s.ContainerStatuses)
	}
}

func volumeMounts(c *corev1.Container, recursive bool) []corev1.VolumeMountStatus {
	var all []corev1.VolumeMountStatus
	for _, m := range c.VolumeMounts {
		s := corev1.VolumeMountStatus{Name: m.Name, MountPath: m.MountPath, ReadOnly: m.ReadOnly}
		if m.ReadOnly {
			mode := corev1.RecursiveReadOnlyDisabled
			if r := m.RecursiveReadOnly; r != nil && *r != corev1.RecursiveReadOnlyDisabled && recursive {
				mode = corev1.RecursiveReadOnlyEnabled
			}
			s.RecursiveReadOnly = &mode
		}
		all = append(all, s)
	}
	return all
}

// apiTime has whole seconds, as a time that went through the API.
func apiTime(t time.Time) metav1.Time {
	if t.IsZero() {
		return metav1.Time{}
	}
	return metav1.NewTime(t.Truncate(time.Second))
}
