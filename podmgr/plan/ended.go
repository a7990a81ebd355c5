// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"time"

	corev1 "k8s.io/api/core/v1"
)

// End is why and how the node ends a Pod that nobody deleted: it is shut down, it
// is short of something, or a critical Pod needs the place. The caller keeps it on
// disk from before the first decision that has it until the Pod is gone, so that an
// agent that was killed meanwhile goes on to the same end.
type End struct {
	// Reason and Message of the Pod's status: Terminated, Evicted, Preempting.
	Reason  string `json:"reason"`
	Message string `json:"message"`
	// Disruption is the message of the condition DisruptionTarget; empty: the Pod does
	// not get that condition.
	Disruption string `json:"disruption,omitempty"`
	// At is when it was decided, and Grace how long the containers have from then on.
	// The kubelet's least is one second.
	At    time.Time     `json:"at"`
	Grace time.Duration `json:"grace"`
	// KeepSuccess leaves the phase of a Pod that succeeds meanwhile; any other is
	// Failed.
	KeepSuccess bool `json:"keepSuccess,omitempty"`
}

// killAt is when SIGKILL is due.
func (e *End) killAt() time.Time { return e.At.Add(max(e.Grace, minGrace)) }

// ended says whether the node ends the Pod.
func (v *view) ended() bool { return v.Ended != nil && !terminal(v.Last.Phase) }

// settleEnd sets the phase of a Pod whose containers the node has ended.
func (v *view) settleEnd(s *corev1.PodStatus) {
	s.Phase, s.Reason, s.Message = corev1.PodFailed, v.Ended.Reason, v.Ended.Message
	if v.Ended.KeepSuccess && v.outcome(s) == corev1.PodSucceeded {
		s.Phase = corev1.PodSucceeded
	}
}

// disruption is the condition of a Pod that the node ended, in force from the
// terminal phase on, as the kubelet has it; nil for any other.
func (v *view) disruption(s *corev1.PodStatus) *corev1.PodCondition {
	if old := v.lastCondition(corev1.DisruptionTarget); old != nil && OwnsCondition(*old) {
		return old // of the generation that was ended
	}
	if !v.ended() || !terminal(s.Phase) || v.Ended.Disruption == "" {
		return nil
	}
	c := v.dated(corev1.PodCondition{
		Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue,
		Reason: corev1.PodReasonTerminationByKubelet, Message: v.Ended.Disruption,
	})
	return &c
}
