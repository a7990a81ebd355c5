// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"path/filepath"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// However many watch, and come and go meanwhile, each sees every change in order.
func TestCrowdMissesNothing(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "state.db"))
	const watchers, changes = 300, 50
	var all sync.WaitGroup
	for i := range watchers {
		w := s.WatchBehind("pods", s.Revision())
		all.Go(func() {
			defer w.Close()
			last := uint64(0)
			for n := range changes {
				if i%3 == 0 && n == changes/2 {
					return
				}
				e, err := w.Next(context.Background())
				if err != nil || e.Revision != last+1 {
					t.Errorf("after %d: %d %v", last, e.Revision, err)
					return
				}
				last = e.Revision
			}
		})
	}
	for i := range changes {
		p := &corev1.Pod{}
		p.Namespace, p.Name, p.Generation = "default", "a", int64(i)
		write := s.Update
		if i == 0 {
			write = s.Create
		}
		if err := write("pods", p); err != nil {
			t.Fatal(err)
		}
	}
	all.Wait()
}

// A crowd is woken behind the writer: those who watch as one of few are told before
// the write is over, those of a crowd at the pace of their own.
func TestCrowdIsWokenBehind(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "state.db"))
	few, many := s.Watch("pods", 0), s.WatchBehind("pods", 0)
	defer few.Close()
	defer many.Close()
	s.mu.Lock()
	s.publish(&record{resource: "pods", kind: Added, key: "default/a", revision: 1})
	told, due := len(few.wake), len(many.wake)
	s.publish(&record{resource: "pods", kind: Modified, key: "default/a", revision: 2})
	listed := len(s.crowd.due)
	s.mu.Unlock()
	if told != 1 || due != 0 || listed != 1 {
		t.Errorf("told %d, of the crowd %d, due %d", told, due, listed)
	}
	<-many.wake
}
