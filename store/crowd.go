// SPDX-License-Identifier: Apache-2.0

package store

import (
	"runtime"
	"time"
)

const (
	// crowdStep is how many watchers of a crowd are woken before others have their turn.
	crowdStep = 8
	// crowdWait is what a crowd of more than that waits for first: the answer to the
	// writer is then on its way. The last of a thousand hears of the change ten times
	// later.
	crowdWait = 2 * time.Millisecond
)

// crowd are watchers that are told of a change behind whoever made it: a thousand of
// them that run at once would keep the answer to a write from its writer. The store's
// mutex guards it.
type crowd struct {
	due    []*Watcher // in no order, each once
	waking bool       // somebody is at it
}

// WatchBehind is Watch for those who may be many.
func (s *Store) WatchBehind(resource string, after uint64) *Watcher {
	w := s.newWatcher(resource, after)
	w.behind = true
	return s.register(w)
}

// add notes a watcher that has to be woken.
func (c *crowd) add(w *Watcher) {
	if !w.due {
		w.due = true
		c.due = append(c.due, w)
	}
}

// wakeCrowd begins to wake those who are due, unless somebody is at it; s.mu is held.
func (s *Store) wakeCrowd() {
	switch n := len(s.crowd.due); {
	case n == 0 || s.crowd.waking:
		return
	case n > crowdStep:
		time.AfterFunc(crowdWait, s.wakeDue)
	default:
		go s.wakeDue()
	}
	s.crowd.waking = true
}

func (s *Store) wakeDue() {
	for {
		s.mu.Lock()
		n := min(crowdStep, len(s.crowd.due))
		if n == 0 {
			s.crowd = crowd{}
			s.mu.Unlock()
			return
		}
		for _, w := range s.crowd.due[:n] {
			w.due = false
			w.tell()
		}
		s.crowd.due = s.crowd.due[n:]
		s.mu.Unlock()
		runtime.Gosched()
	}
}
