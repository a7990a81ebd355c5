// SPDX-License-Identifier: Apache-2.0

package podmgr

import (
	"log/slog"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/minikubelet/minikubelet/podmgr/plan"
)

// TestOlderVersionsAreNotTaken: a Pod that came back has its predecessor's UID, and what
// was last told of that must not end it.
func TestOlderVersionsAreNotTaken(t *testing.T) {
	version := func(revision string) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: "u", ResourceVersion: revision}}
	}
	w := &worker{desired: version("9"), pod: version("9"), wake: make(chan struct{}, 1), changed: make(chan struct{})}
	old := version("8")
	old.DeletionTimestamp = &metav1.Time{}
	w.setPod(old)
	if w.desired.ResourceVersion != "9" || w.pod.DeletionTimestamp != nil || len(w.wake) > 0 {
		t.Errorf("version 8 was taken after 9: %+v", w.desired.ObjectMeta)
	}
	w.setPod(version("10"))
	if w.desired.ResourceVersion != "10" {
		t.Errorf("version 10 was not taken after 9: %+v", w.desired.ObjectMeta)
	}
}

// TestMembersOfAFailedSandbox are not made any further; what is under way for others goes on.
func TestMembersOfAFailedSandbox(t *testing.T) {
	var canceled []string
	w := &worker{busy: make(map[string]*step)}
	for _, a := range []plan.Action{
		{Kind: plan.CreateSandbox},
		{Kind: plan.CreateContainer, Container: "member", SandboxID: "failed"},
		{Kind: plan.CreateContainer, Container: "other", SandboxID: "next"},
		{Kind: plan.PullImage, Image: "image"},
	} {
		w.busy[a.Key()] = newStep(a, func() { canceled = append(canceled, a.Key()) })
	}
	w.cancelMembers("failed")
	if len(canceled) != 1 || canceled[0] != "container member" {
		t.Errorf("canceled: %v", canceled)
	}
}

// TestDeadlineDrawnNearer is for the race detector: a step takes an earlier deadline
// while it looks at its own.
func TestDeadlineDrawnNearer(t *testing.T) {
	w := &worker{
		m: new(Manager), log: slog.New(slog.DiscardHandler), pod: new(corev1.Pod),
		busy: make(map[string]*step), wake: make(chan struct{}, 1), changed: make(chan struct{}),
	}
	due := time.Now().Add(time.Hour)
	var steps sync.WaitGroup
	for i := range 100 {
		w.start(t.Context(), t.Context(), &steps, plan.Action{Kind: plan.PreStop, Deadline: due.Add(-time.Duration(i) * time.Second)})
	}
	steps.Wait()
}

// TestEarliestDeadlineIsTaken: however often the deadline is drawn nearer before the
// step looks, the last is the one.
func TestEarliestDeadlineIsTaken(t *testing.T) {
	due := time.Now().Add(time.Hour)
	s := newStep(plan.Action{Kind: plan.StopContainer, Deadline: due}, func() {})
	for i := range 10 {
		due = due.Add(-time.Duration(i) * time.Second)
		s.meet(plan.Action{Kind: plan.StopContainer, Deadline: due})
	}
	if got := <-s.sooner; !got.Equal(due) {
		t.Errorf("the deadline is %v, not %v", got, due)
	}
}

// TestUntilNext: a deadline that is far away is looked at before, for the clock may be set.
func TestUntilNext(t *testing.T) {
	now := time.Now()
	for next, want := range map[time.Time]time.Duration{
		now.Add(30 * 24 * time.Hour): clockLook,
		now.Add(time.Second):         time.Second,
		now.Add(-time.Second):        time.Millisecond,
		{}:                           time.Hour,
	} {
		if got := untilNext(now, next); got != want {
			t.Errorf("until %v: %v, want %v", next, got, want)
		}
	}
}
