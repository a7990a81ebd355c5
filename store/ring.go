// SPDX-License-Identifier: Apache-2.0

package store

import (
	"reflect"
	"sort"
	"sync"
)

const (
	// ringEvents and ringBytes are how many changes are kept for watchers, some minutes
	// of a busy node: none too many, nor too large ones, with their objects at rest.
	ringEvents, ringBytes = 4096, 16 << 20
	// freshEvents are the newest changes, whose objects are kept as the watchers got
	// them.
	freshEvents = 64
)

// record is a change that is kept, with its objects at rest.
type record struct {
	kind             EventType
	resource, key    string
	revision         uint64
	typ              reflect.Type
	object, previous []byte // previous is nil when there was none

	mu    sync.Mutex
	event *Event // for all watchers; nil when nobody has asked yet, or when it is old
	old   bool
}

func (r *record) cost() int { return len(r.object) + len(r.previous) }

// read makes the event, or returns the one that others have got.
func (r *record) read() (Event, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.event != nil {
		return *r.event, nil
	}
	e := Event{Type: r.kind, Resource: r.resource, Revision: r.revision}
	var err error
	if e.Object, err = r.decode(r.object); err != nil {
		return e, err
	}
	e.Object.SetResourceVersion(version(r.revision))
	if e.Previous, err = r.before(); err != nil {
		return e, err
	}
	if !r.old {
		r.event = &e
	}
	return e, nil
}

// before is the object before the change, the caller's own.
func (r *record) before() (Object, error) {
	if r.previous == nil {
		return nil, nil
	}
	return r.decode(r.previous)
}

func (r *record) decode(data []byte) (Object, error) {
	o := reflect.New(r.typ).Interface().(Object)
	return o, Data{data}.Into(o)
}

// age gives back what can be made again.
func (r *record) age() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.event, r.old = nil, true
}

// ring keeps the newest changes, oldest first.
type ring struct {
	records          []*record
	events, maxBytes int // what it may have
	bytes            int
	opened           uint64            // where it began
	floor            uint64            // changes after it are all there
	floors           map[string]uint64 // the same, for the changes of one resource
	// newest has the objects of the ring as they are now, so that the change and the
	// next one's Previous are the same bytes.
	newest map[string][]byte
}

func newRing(events, maxBytes int) ring {
	return ring{events: events, maxBytes: maxBytes, floors: make(map[string]uint64), newest: make(map[string][]byte)}
}

func (r *ring) add(e *record) {
	r.records = append(r.records, e)
	r.bytes += e.cost()
	if e.kind == Deleted {
		delete(r.newest, e.resource+"/"+e.key)
	} else {
		r.newest[e.resource+"/"+e.key] = e.object
	}
	if i := len(r.records) - 1 - freshEvents; i >= 0 {
		r.records[i].age()
	}
	for len(r.records) > 1 && (len(r.records) > r.events || r.bytes > r.maxBytes) {
		r.drop()
	}
}

// drop forgets the oldest change.
func (r *ring) drop() {
	e := r.records[0]
	r.records[0] = nil
	r.records = r.records[1:]
	r.bytes -= e.cost()
	r.floor, r.floors[e.resource] = e.revision, e.revision
	id := e.resource + "/" + e.key
	if now := r.newest[id]; len(now) > 0 && len(e.object) > 0 && &now[0] == &e.object[0] {
		delete(r.newest, id)
	}
}

// since returns the changes of a resource, or of All, after a revision, oldest first
// and at most as many as said.
func (r *ring) since(resource string, revision uint64, most int) ([]*record, error) {
	floor := r.floor
	if resource != All {
		floor = max(r.opened, r.floors[resource])
	}
	if revision < floor {
		return nil, ErrTooOld
	}
	first := sort.Search(len(r.records), func(i int) bool { return r.records[i].revision > revision })
	var out []*record
	for _, e := range r.records[first:] {
		if len(out) == most {
			break
		}
		if resource == All || e.resource == resource {
			out = append(out, e)
		}
	}
	return out, nil
}
