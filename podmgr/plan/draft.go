// SPDX-License-Identifier: Apache-2.0

package plan

import "time"

// draft collects a decision's actions and sorts out those that cannot be done
// now: at most one action for each key, none whose key is busy, and none whose
// last failure was too short a time ago.
type draft struct {
	seen    *Seen
	now     time.Time
	actions []Action
	events  []Event
	taken   map[string]bool
	next    time.Time
}

func newDraft(in *Input) *draft {
	return &draft{seen: &in.Seen, now: in.Now, taken: map[string]bool{}}
}

// do adds an action, unless it has to wait for another one or for its back-off.
func (d *draft) do(a Action) {
	key := a.Key()
	if d.taken[key] {
		return
	}
	if d.seen.Busy[key] && !a.ending() {
		return
	}
	if f, ok := d.failure(key, a.Kind); ok {
		if f.Waits {
			return
		}
		if at := f.At.Add(retryDelay(f.Count)); d.now.Before(at) {
			d.wake(at)
			return
		}
	}
	if a.ending() && a.Deadline.Before(d.now) {
		a.Deadline = d.now
	}
	d.taken[key] = true
	d.actions = append(d.actions, a)
}

// ending says whether the action is part of a container's stop, whose deadline may
// be drawn nearer while it is under way.
func (a Action) ending() bool { return a.Kind == StopContainer || a.Kind == PreStop }

// free says whether nothing is under way or decided for the key.
func (d *draft) free(key string) bool { return !d.taken[key] && !d.seen.Busy[key] }

// failure is the last failure of an action of this kind on the key.
func (d *draft) failure(key string, kind Kind) (Failure, bool) {
	f, ok := d.seen.Failures[key]
	if !ok || (f.Kind != "" && f.Kind != kind) {
		return Failure{}, false
	}
	return f, true
}

// wake asks for another decision at a time in the future.
func (d *draft) wake(at time.Time) {
	if !at.After(d.now) {
		return
	}
	if d.next.IsZero() || at.Before(d.next) {
		d.next = at
	}
}

func (d *draft) event(kind, reason, message, container string) {
	d.events = append(d.events, Event{Type: kind, Reason: reason, Message: message, Container: container})
}
