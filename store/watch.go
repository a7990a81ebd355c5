// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"errors"
	"sort"
	"sync"
)

// EventType is the kind of a change.
type EventType string

// Kinds of changes, named as in the Kubernetes watch protocol.
const (
	Added    EventType = "ADDED"
	Modified EventType = "MODIFIED"
	Deleted  EventType = "DELETED"
)

// Event is one change. Its objects are shared between all watchers: nobody may
// change them.
type Event struct {
	Type     EventType
	Resource string
	Revision uint64
	// Object is as it is after the change; one that was deleted is as it last was,
	// with the deletion's version.
	Object Object
	// Previous is the object before the change, nil when there was none.
	Previous Object
}

// ErrTooOld says that a watch asks for changes that are no longer kept, or that
// its reader fell behind further than what is kept: list again.
var ErrTooOld = errors.New("too old resource version")

// ringSize is how many changes are kept for watchers: some minutes of a busy node.
const ringSize = 4096

// ring keeps the newest events. Events after revision floor are all there.
type ring struct {
	events []Event
	next   int // where the next event goes
	floor  uint64
}

func newRing(size int) ring { return ring{events: make([]Event, 0, size)} }

func (r *ring) add(e Event) {
	if len(r.events) < cap(r.events) {
		r.events = append(r.events, e)
		return
	}
	r.floor = r.events[r.next].Revision
	r.events[r.next] = e
	r.next = (r.next + 1) % len(r.events)
}

// since returns the events after a revision, oldest first.
func (r *ring) since(revision uint64) ([]Event, error) {
	if revision < r.floor {
		return nil, ErrTooOld
	}
	at := func(i int) Event { return r.events[(r.next+i)%len(r.events)] }
	first := sort.Search(len(r.events), func(i int) bool { return at(i).Revision > revision })
	var out []Event
	for i := first; i < len(r.events); i++ {
		out = append(out, at(i))
	}
	return out, nil
}

// Before tells how the objects of a resource that have changed since a revision
// were then, by "namespace/name"; nil for those that did not exist. With a List it
// gives the objects as they were at that revision. It fails with ErrTooOld.
func (s *Store) Before(resource string, revision uint64) (map[string]Object, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	events, err := s.ring.since(revision)
	if err != nil {
		return nil, err
	}
	out := make(map[string]Object)
	for _, e := range events {
		id := string(key(e.Object.GetNamespace(), e.Object.GetName()))
		if _, seen := out[id]; e.Resource == resource && !seen {
			out[id] = e.Previous
		}
	}
	return out, nil
}

// All stands for every resource in a watch.
const All = ""

// Watcher reads the changes of one resource, or of All, in their order. One goroutine at a
// time may call Next.
type Watcher struct {
	store    *Store
	resource string
	after    uint64 // the last revision that was handed out
	wake     chan struct{}
	done     chan struct{}
	once     sync.Once
	pending  []Event
}

// Watch starts after a revision, usually that of a List.
func (s *Store) Watch(resource string, after uint64) *Watcher {
	w := &Watcher{store: s, resource: resource, after: after, wake: make(chan struct{}, 1), done: make(chan struct{})}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watchers[w] = struct{}{}
	return w
}

// Next returns the next change. It fails with ErrTooOld when the watch has
// missed changes, with context's error, and with ErrClosed at the end.
func (w *Watcher) Next(ctx context.Context) (Event, error) {
	for {
		if len(w.pending) > 0 {
			e := w.pending[0]
			w.pending = w.pending[1:]
			return e, nil
		}
		w.store.mu.Lock()
		events, err := w.store.ring.since(w.after)
		w.after = max(w.after, w.store.revision)
		w.store.mu.Unlock()
		if err != nil {
			return Event{}, err
		}
		for _, e := range events {
			if w.resource == All || e.Resource == w.resource {
				w.pending = append(w.pending, e)
			}
		}
		if len(w.pending) > 0 {
			continue
		}
		select {
		case <-w.wake:
		case <-w.done:
			return Event{}, ErrClosed
		case <-ctx.Done():
			return Event{}, ctx.Err()
		}
	}
}

// ErrClosed says that the watch or its store was closed.
var ErrClosed = errors.New("watch closed")

// Close ends the watch. It may be called more than once and from any goroutine.
func (w *Watcher) Close() {
	w.store.mu.Lock()
	delete(w.store.watchers, w)
	w.store.mu.Unlock()
	w.close()
}

func (w *Watcher) close() { w.once.Do(func() { close(w.done) }) }

// publish keeps an event and wakes the watchers; s.mu is held. A slow watcher
// holds up nobody: it finds the events in the ring, or ErrTooOld.
func (s *Store) publish(e Event) {
	s.ring.add(e)
	for w := range s.watchers {
		select {
		case w.wake <- struct{}{}:
		default:
		}
	}
}
