// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"
)

// follow has a follower of Pods that waits until each of its calls is read.
func follow(t *testing.T, s *Store, ctx context.Context, f Follower) (calls chan string, done chan error) {
	calls, done = make(chan string), make(chan error, 1)
	see := f.See
	f.See = func(e Event) bool { calls <- "see " + e.Object.GetName(); return see(e) }
	if all := f.All; all != nil {
		f.All = func() error { calls <- "all"; return all() }
	}
	if work := f.Work; work != nil {
		f.Work = func() bool { calls <- "work"; return work() }
	}
	go func() { done <- s.Follow(ctx, "pods", f); close(calls) }()
	t.Cleanup(func() {
		for range calls { // it may not be over after a failure
		}
	})
	return calls, done
}

func expect(t *testing.T, calls <-chan string, want ...string) {
	t.Helper()
	for _, w := range want {
		if got := <-calls; got != w {
			t.Fatalf("got %q, not %q", got, w)
		}
	}
}

func create(t *testing.T, s *Store, resource string, names ...string) {
	t.Helper()
	for _, name := range names {
		if err := s.Create(resource, pod(name)); err != nil {
			t.Error(err)
		}
	}
}

func nothing() error { return nil }

func TestFollowerWorksWhenThereIsWork(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "state.db"))
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	calls, done := follow(t, s, ctx, Follower{
		See: func(e Event) bool { return e.Object.GetName() == "b" }, Work: func() bool { return true },
	})
	expect(t, calls, "work")
	create(t, s, "others", "b")
	create(t, s, "pods", "a", "b", "c")
	expect(t, calls, "see a", "see b", "work", "see c")
	stop()
	if err := <-done; err != nil {
		t.Errorf("it ended with %v", err)
	}
}

// What could not be done is tried again without a change, until it is done, and at
// once when a change makes work.
func TestFollowerTriesAgain(t *testing.T) {
	for _, tt := range []struct {
		name  string
		retry time.Duration
		then  []string
	}{
		{"after a time", time.Millisecond, []string{"work", "work", "see a", "work", "see b"}},
		{"after a change", time.Hour, []string{"see a", "work", "see b"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := open(t, filepath.Join(t.TempDir(), "state.db"))
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			failures := 2
			calls, _ := follow(t, s, ctx, Follower{
				All: nothing, See: func(e Event) bool { return e.Object.GetName() == "a" },
				Work: func() bool { failures--; return failures < 0 }, Retry: tt.retry,
			})
			expect(t, calls, "all", "work")
			for _, call := range tt.then {
				if call == "see a" {
					create(t, s, "pods", "a", "b")
				}
				expect(t, calls, call)
			}
			stop()
		})
	}
}

func TestFollowerThatFellBehindLooksAtAll(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "state.db"))
	s.ring = newRing(2, ringBytes)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	missed := []string{"a", "b", "c", "d"}
	calls, _ := follow(t, s, ctx, Follower{
		All: func() error {
			create(t, s, "pods", missed...)
			missed = nil
			return nil
		},
		See: func(Event) bool { return false },
	})
	expect(t, calls, "all", "all")
	create(t, s, "pods", "e")
	expect(t, calls, "see e")
	stop()
}

func TestFollowerEnds(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "state.db"))
	see := func(Event) bool { return false }
	broken := errors.New("broken")
	calls, done := follow(t, s, t.Context(), Follower{All: func() error { return broken }, See: see})
	expect(t, calls, "all")
	if err := <-done; !errors.Is(err, broken) {
		t.Errorf("all failed, and it ended with %v", err)
	}
	calls, done = follow(t, s, t.Context(), Follower{All: nothing, See: see})
	expect(t, calls, "all")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Errorf("the store was closed, and it ended with %v", err)
	}
}
