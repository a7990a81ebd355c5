// SPDX-License-Identifier: Apache-2.0

package podmgr

import (
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/minikubelet/minikubelet/store"
)

func stored(t *testing.T, s *store.Store) (list []corev1.Event) {
	t.Helper()
	_, err := s.List(Events, "", func(data store.Data) error {
		var e corev1.Event
		if err := data.Into(&e); err != nil {
			return err
		}
		list = append(list, e)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// What a cluster's scheduler would tell is counted as the node's own events are, and
// not for a stranger's, over a restart too.
func TestEventsOfTheScheduler(t *testing.T) {
	s, err := store.Open(filepath.Join(t.TempDir(), "state.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "a", UID: "u"}}
	for range 2 {
		m := &Manager{events: newRecorder(s, "n", slog.New(slog.DiscardHandler))}
		stop := m.events.start()
		m.SchedulerEvent(pod, corev1.EventTypeWarning, "FailedScheduling", "message")
		m.events.record(pod, "", corev1.EventTypeNormal, "Pulled", "message")
		stop()
		if len(m.events.known) != 2 {
			t.Errorf("known: %v", slices.Collect(maps.Keys(m.events.known)))
		}
	}
	got := stored(t, s)
	if len(got) != 2 || got[0].Reason != "FailedScheduling" || got[0].Count != 2 || got[0].Source != (corev1.EventSource{Component: "default-scheduler"}) || got[0].ReportingController != "default-scheduler" {
		t.Errorf("%+v", got)
	}
}

// Events are listed in their order, the same one again raises a count, over a
// restart too, and what is old or too much goes.
func TestEventsAreOrderedCountedAndBounded(t *testing.T) {
	s, err := store.Open(filepath.Join(t.TempDir(), "state.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "a", UID: "u"}}
	for range 2 { // two agents, one after the other
		r := newRecorder(s, "n", slog.New(slog.DiscardHandler))
		stop := r.start()
		for _, reason := range []string{"Pulled", "Created", "Started", "Created"} {
			r.record(pod, "", corev1.EventTypeNormal, reason, "message")
		}
		stop()
	}
	var got []string
	for _, e := range stored(t, s) {
		got = append(got, e.Reason)
		if want := int32(2 + 2*map[bool]int{true: 1}[e.Reason == "Created"]); e.Count != want {
			t.Errorf("%s: count %d, want %d", e.Reason, e.Count, want)
		}
	}
	if len(got) != 3 || got[0] != "Pulled" || got[1] != "Created" || got[2] != "Started" {
		t.Errorf("events %v", got)
	}

	r := newRecorder(s, "n", slog.New(slog.DiscardHandler))
	r.load()
	if gone := r.surplus(time.Now().Add(eventsAge / 2)); len(gone) != 0 {
		t.Errorf("%d events are removed before their time", len(gone))
	}
	r.prune(time.Now().Add(eventsAge + time.Minute))
	if left := stored(t, s); len(left) != 0 {
		t.Errorf("%d events are kept beyond their time", len(left))
	}
}

// Events that differ in their message alone are combined once they are many, until they
// have stopped coming for a while.
func TestSimilarEventsAreCombined(t *testing.T) {
	s, err := store.Open(filepath.Join(t.TempDir(), "state.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "a", UID: "u"}}
	other := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "b", UID: "v"}}
	var r *recorder
	for range 2 { // two agents, one after the other
		r = newRecorder(s, "n", slog.New(slog.DiscardHandler))
		stop := r.start()
		for i := range 30 {
			r.record(pod, "", corev1.EventTypeWarning, "Unhealthy", fmt.Sprint("message ", i))
			r.record(pod, "", corev1.EventTypeWarning, "Unhealthy", "message 0")
		}
		r.record(pod, "", corev1.EventTypeWarning, "Failed", "message 30")
		r.record(other, "", corev1.EventTypeWarning, "Unhealthy", "message 30")
		stop()
	}
	counts := make(map[string]int32)
	for _, e := range stored(t, s) {
		counts[e.InvolvedObject.Name+" "+e.Reason+" "+e.Message] = e.Count
	}
	want := map[string]int32{"a Failed message 30": 2, "b Unhealthy message 30": 2, "a Unhealthy " + combined + "message 29": 42, "a Unhealthy message 0": 62}
	for i := 1; i < 9; i++ {
		want[fmt.Sprint("a Unhealthy message ", i)] = 2
	}
	if !maps.Equal(counts, want) {
		t.Errorf("counts %v", counts)
	}
	if later := time.Now().Add(similarAge + time.Minute); r.tooMany("u\x00Warning\x00Unhealthy", "message 40", later) {
		t.Error("still combined after a pause")
	}
}

// There are never more than so many events, whoever makes them, and the newest stay.
func TestEventsAreBoundedInNumber(t *testing.T) {
	s, err := store.Open(filepath.Join(t.TempDir(), "state.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	r := newRecorder(s, "n", slog.New(slog.DiscardHandler))
	for i := range eventsMax + 50 {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "a", UID: types.UID(fmt.Sprint(i))}}
		r.record(pod, "", corev1.EventTypeNormal, "Started", "message")
		if i%200 == 0 || i == eventsMax+49 {
			r.writeAll(r.queued())
		}
	}
	all := stored(t, s)
	if len(all) != eventsMax || len(r.known) != eventsMax {
		t.Fatalf("%d events, %d known", len(all), len(r.known))
	}
	if first, last := all[0].InvolvedObject.UID, all[len(all)-1].InvolvedObject.UID; first != "50" || last != types.UID(fmt.Sprint(eventsMax+49)) {
		t.Errorf("from %s to %s", first, last)
	}
	if wait := r.untilAged(time.Now()); wait > eventsAge+time.Second || wait < eventsAge/2 {
		t.Errorf("the oldest goes in %v", wait)
	}
}

// Events that others make over the API count, too, and go as ours do; those that they
// remove count no more.
func TestEventsOfOthersAreBounded(t *testing.T) {
	s, err := store.Open(filepath.Join(t.TempDir(), "state.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	other := func(name string) *corev1.Event {
		return &corev1.Event{
			TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Event"}, ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
			Source: corev1.EventSource{Component: "controller"}, Reason: "Made", Message: "message",
		}
	}
	r := newRecorder(s, "n", slog.New(slog.DiscardHandler))
	stop := r.start()
	defer stop()
	for i := range eventsMax {
		r.notice(other(fmt.Sprint("before-", i)), time.Now())
	}
	for _, name := range []string{"a", "b"} {
		if err := s.Create(Events, other(name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Delete(Events, other("b")); err != nil {
		t.Fatal(err)
	}
	known := func() (number int, a, b bool) {
		r.mu.Lock()
		defer r.mu.Unlock()
		return len(r.known), r.known[foreign(other("a"))] != nil, r.known[foreign(other("b"))] != nil
	}
	for {
		if number, a, b := known(); number <= eventsMax && a && !b {
			break
		}
		time.Sleep(time.Millisecond)
	}
	r.prune(time.Now().Add(eventsAge + time.Minute))
	if left := stored(t, s); len(left) != 0 {
		t.Errorf("%d events are kept beyond their time", len(left))
	}
}
