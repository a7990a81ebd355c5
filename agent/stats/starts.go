// SPDX-License-Identifier: Apache-2.0

package stats

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/minikubelet/minikubelet/podmgr"
	"github.com/minikubelet/minikubelet/podmgr/plan"
)

const (
	// startsMax bounds the Pods whose start is being followed, and startSteps the steps
	// that are kept of each.
	startsMax, startSteps = 1000, 256
)

// podStart is the start of a Pod that does not run yet.
type podStart struct {
	seen  time.Time
	steps []podmgr.Step
}

// interval is a time with a beginning and an end.
type interval struct{ from, to time.Time }

// OnStatus is podmgr's: a Pod's start lasts from the first status that says
// Pending to the first that says something else. A Pod that an earlier agent
// started is not counted.
func (r *Reader) OnStatus(pod *corev1.Pod, status *corev1.PodStatus) {
	o, now := r.own, time.Now()
	o.mu.Lock()
	defer o.mu.Unlock()
	uid := string(pod.UID)
	s := o.starts[uid]
	switch {
	case status.Phase == corev1.PodPending && s == nil && len(o.starts) < startsMax && !started(status):
		o.starts[uid] = &podStart{seen: now}
	case s == nil || status.Phase == corev1.PodPending:
	default:
		delete(o.starts, uid)
		if status.Phase == corev1.PodFailed && !started(status) {
			return // it was refused
		}
		took := now.Sub(s.seen)
		if r.cfg.Log.Enabled(context.Background(), slog.LevelDebug) {
			r.cfg.Log.Debug("a Pod has started", "pod", pod.Namespace+"/"+pod.Name, "uid", uid, "took", took, "steps", s.spelt())
		}
		o.podStart.Observe(took.Seconds())
		o.podStartSLI.Observe((took - covered(s.seen, now, s.excluded(status))).Seconds())
		// A creation has whole seconds: the time since it may come out too long.
		o.podStartTotal.Observe(max(now.Sub(pod.CreationTimestamp.Time), took).Seconds())
	}
}

// spelt are the steps for a log: when each began after the Pod was seen, and what
// it took.
func (s *podStart) spelt() []string {
	var out []string
	for _, step := range s.steps {
		out = append(out, strings.TrimSpace(fmt.Sprintf("%v +%v %s %s", step.Began.Sub(s.seen).Round(time.Microsecond),
			step.Took.Round(time.Microsecond), step.Name, step.Container)))
	}
	return out
}

// started says whether a container of the Pod has ever been started.
func started(status *corev1.PodStatus) bool {
	for _, list := range [][]corev1.ContainerStatus{status.InitContainerStatuses, status.ContainerStatuses} {
		for _, c := range list {
			if c.State.Running != nil || c.State.Terminated != nil || c.LastTerminationState.Terminated != nil {
				return true
			}
		}
	}
	return false
}

// excluded is when images were pulled and init containers ran.
func (s *podStart) excluded(status *corev1.PodStatus) []interval {
	var out []interval
	for _, step := range s.steps {
		if step.Name == string(plan.PullImage) {
			out = append(out, interval{step.Began, step.Began.Add(step.Took)})
		}
	}
	for _, c := range status.InitContainerStatuses {
		if t := c.State.Terminated; t != nil {
			out = append(out, interval{t.StartedAt.Time, t.FinishedAt.Time})
		}
	}
	return out
}

// covered is how much of the time between from and to the intervals cover
// together.
func covered(from, to time.Time, intervals []interval) time.Duration {
	slices.SortFunc(intervals, func(a, b interval) int { return a.from.Compare(b.from) })
	var sum time.Duration
	for _, i := range intervals {
		begin, end := i.from, i.to
		if begin.Before(from) {
			begin = from
		}
		if end.After(to) {
			end = to
		}
		if end.After(begin) {
			sum += end.Sub(begin)
			from = end
		}
	}
	return sum
}

// noteStep keeps a step of a Pod that is starting, and forgets Pods that are gone.
func (o *own) noteStep(s podmgr.Step) {
	uid := string(s.Pod.UID)
	o.mu.Lock()
	defer o.mu.Unlock()
	if s.Name == string(plan.Finish) {
		delete(o.starts, uid)
		for key := range o.probes {
			if key.uid == uid {
				delete(o.probes, key)
			}
		}
		return
	}
	if start := o.starts[uid]; start != nil && len(start.steps) < startSteps {
		s.Pod = nil // not to be kept alive
		start.steps = append(start.steps, s)
	}
}
