// SPDX-License-Identifier: Apache-2.0

package podmgr

import (
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

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
