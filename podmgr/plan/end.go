// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"math"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// The kubelet's words for a Pod whose active deadline is over.
const (
	deadlineExceeded = "DeadlineExceeded"
	deadlineMessage  = "Pod was active on the node longer than the specified deadline"
)

// minGrace is the least time that a container gets between the stop signal and
// SIGKILL, as in the kubelet: also with a grace period of 0, and a sidecar whose turn
// to stop did not come before the grace period was over.
const minGrace = 2 * time.Second

// Seconds is a number of seconds of an object, of which the API bounds few: what is
// too long for a duration is the longest one, some 292 years, also below zero.
func Seconds(n int64) time.Duration {
	const most = int64(math.MaxInt64 / time.Second)
	return time.Duration(max(min(n, most), -most)) * time.Second
}

// deleted says whether the Pod's end was asked for.
func (v *view) deleted() bool { return v.Pod.DeletionTimestamp != nil }

// activeDeadline is when the Pod's time is over, zero if it has no deadline.
func (v *view) activeDeadline() time.Time {
	if s := v.Pod.Spec.ActiveDeadlineSeconds; s != nil {
		return v.startTime().Add(Seconds(*s))
	}
	return time.Time{}
}

func (v *view) overdue() bool {
	at := v.activeDeadline()
	return !at.IsZero() && !v.Now.Before(at)
}

// startTime is the Pod's, whole seconds as the API has it.
func (v *view) startTime() time.Time {
	if t := v.Last.StartTime; t != nil && !t.IsZero() {
		return t.Time
	}
	return v.Now.Truncate(time.Second)
}

// shutDown stops all containers, then removes the sandbox. In a deleted Pod the
// containers' records go, too, and then the Pod itself; otherwise the last ones stay
// for whoever wants to read their logs.
func (v *view) shutDown(d *draft) {
	v.clearJunk(d)
	for _, m := range v.members() {
		if m.made != nil {
			v.remove(d, m.made)
		}
	}
	if !v.stopOrdered(d, v.stopBy(), "") || !v.quiet() {
		return
	}
	for _, s := range append(v.outdated, v.sandbox) {
		if s != nil {
			d.do(Action{Kind: RemoveSandbox, ID: s.ID, Attempt: s.Attempt})
			return
		}
	}
	if !v.deleted() {
		if terminal(v.Last.Phase) {
			v.rest(d)
		}
		return
	}
	gone := true
	for _, m := range v.members() {
		for _, c := range m.records() {
			v.removeReported(d, m, c)
			gone = false
		}
	}
	if gone && len(v.Seen.Containers) == 0 {
		d.do(Action{Kind: Finish})
	}
}

// stopBy is when SIGKILL is due for what still runs. It is the same at each
// decision, where that can be: it counts from what caused the end.
func (v *view) stopBy() time.Time {
	by := v.deletedBy()
	if v.overdue() {
		by = earlier(by, v.activeDeadline().Add(v.grace()))
	}
	if v.ended() {
		by = earlier(by, v.Ended.killAt())
	}
	if !by.IsZero() {
		return by
	}
	var last time.Time
	for _, m := range v.regular() {
		if m.role != sidecarRole && m.ran != nil && m.ran.FinishedAt.After(last) {
			last = m.ran.FinishedAt
		}
	}
	if last.IsZero() {
		last = v.Now
	}
	return last.Add(v.grace())
}

// deletedBy is when the deletion's grace period is over, zero if there is no deletion.
func (v *view) deletedBy() time.Time {
	if !v.deleted() {
		return time.Time{}
	}
	end := v.Pod.DeletionTimestamp.Time
	if s := v.Pod.DeletionGracePeriodSeconds; s != nil {
		end = end.Add(max(minGrace-Seconds(*s), 0))
	}
	return end
}

// earlier of two times, of which zero is none.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// stopOrdered stops what runs: everything but the sidecars at once, and when the apps
// have ended the sidecars, one by one in reverse order. When the time is over, nobody
// waits for anybody. It says whether nothing runs any more.
func (v *view) stopOrdered(d *draft, deadline time.Time, message string) (quiet bool) {
	quiet = true
	awaited := false // by the next sidecar
	for _, m := range v.members() {
		if m.running() && m.role != sidecarRole {
			v.stop(d, m.ran, deadline, message)
			quiet = false
			awaited = awaited || m.role == appRole
		}
	}
	for _, c := range v.strangers {
		quiet = quiet && c.State != Running
	}
	over := !v.Now.Before(deadline)
	for i := len(v.inits) - 1; i >= 0; i-- {
		m := v.inits[i]
		if m.role != sidecarRole || !m.running() {
			continue
		}
		switch {
		case over:
			d.do(stopping(StopContainer, m.ran, deadline.Add(minGrace), message))
		case !awaited:
			v.stop(d, m.ran, deadline, message)
		default:
			d.wake(deadline)
			if v.preStopDue(m.ran, deadline) { // hooks do not wait for their turn
				v.stop(d, m.ran, deadline, message)
			}
		}
		quiet, awaited = false, true
	}
	return quiet
}

// quiet says whether no container runs and none may be about to.
func (v *view) quiet() bool {
	for _, m := range v.members() {
		if v.Seen.Busy[m.key()] {
			return false
		}
	}
	for i := range v.Seen.Containers {
		if s := v.Seen.Containers[i].State; s == Running || s == Created {
			return false
		}
	}
	return !v.Seen.Busy[Action{Kind: CreateSandbox}.Key()]
}

func terminal(p corev1.PodPhase) bool { return p == corev1.PodSucceeded || p == corev1.PodFailed }
