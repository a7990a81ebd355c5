// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"errors"
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

// All stands for every resource in a watch.
const All = ""

// watchBatch is how many changes a watcher takes at a time: those that it has taken
// are kept for it however slow it is.
const watchBatch = 64

// Watcher reads the changes of one resource, or of All, in their order. One goroutine at a
// time may call Next.
type Watcher struct {
	store    *Store
	resource string
	after    uint64 // the last revision that was handed out
	wake     chan struct{}
	done     chan struct{}
	once     sync.Once
	pending  []*record
	behind   bool // see WatchBehind
	due      bool // it is in the store's crowd
}

// Watch starts after a revision, usually that of a List.
func (s *Store) Watch(resource string, after uint64) *Watcher {
	return s.register(s.newWatcher(resource, after))
}

func (s *Store) newWatcher(resource string, after uint64) *Watcher {
	return &Watcher{store: s, resource: resource, after: after, wake: make(chan struct{}, 1), done: make(chan struct{})}
}

// register has a watcher told of changes.
func (s *Store) register(w *Watcher) *Watcher {
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
			r := w.pending[0]
			w.pending = w.pending[1:]
			return r.read()
		}
		var err error
		w.store.mu.Lock()
		if w.pending, err = w.store.ring.since(w.resource, w.after, watchBatch); err == nil {
			w.after = max(w.after, w.store.revision)
		}
		w.store.mu.Unlock()
		if err != nil {
			return Event{}, err
		}
		if len(w.pending) == watchBatch {
			w.after = w.pending[watchBatch-1].revision
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

// tell wakes a watcher, which may be awake.
func (w *Watcher) tell() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// publish keeps a change and wakes its watchers; s.mu is held. A slow watcher holds
// up nobody: it finds the changes in the ring, or ErrTooOld.
func (s *Store) publish(r *record) {
	s.ring.add(r)
	for w := range s.watchers {
		switch {
		case w.resource != All && w.resource != r.resource:
		case w.behind:
			s.crowd.add(w)
		default:
			w.tell()
		}
	}
	s.wakeCrowd()
}
