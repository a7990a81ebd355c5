// SPDX-License-Identifier: Apache-2.0

package runtime

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"
)

// laterDelay is how long a write that is not urgent waits for one that is. A power failure meanwhile loses it, together with whatever
// the container has written by then: kernels keep written files in memory for longer than that.
const laterDelay = time.Second

// later are writes to containerd's metadata that nobody waits for. They go along with the next write that somebody does wait for, in
// one transaction, or by themselves after laterDelay. Each can be done again, and is of no use once the container's records are gone.
type later struct {
	mu     sync.Mutex
	writes map[string]func(ctx context.Context)
	armed  bool
}

// The names of what is written later about a container.
func startKey(id string) string    { return "start of " + id }
func snapshotKey(id string) string { return "snapshot of " + id }

// writeLater has fn called within a write of some time soon. fn logs its own errors.
func (r *Runtime) writeLater(key string, fn func(ctx context.Context)) {
	l := &r.later
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.writes == nil {
		l.writes = map[string]func(context.Context){}
	}
	l.writes[key] = fn
	if l.armed {
		return
	}
	l.armed = true
	r.work.Go(func() {
		select {
		case <-time.After(laterDelay):
		case <-r.ctx.Done(): // Close waits
		}
		r.flush()
	})
}

// forget drops what was to be written later.
func (r *Runtime) forget(keys ...string) {
	r.later.mu.Lock()
	defer r.later.mu.Unlock()
	for _, key := range keys {
		delete(r.later.writes, key)
	}
}

// flush writes what is still to be written.
func (r *Runtime) flush() {
	r.later.mu.Lock()
	r.later.armed = false
	pending := len(r.later.writes)
	r.later.mu.Unlock()
	if pending == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.ctx), recordTime)
	defer cancel()
	if err := r.write(ctx, func(context.Context) error { return nil }); err != nil {
		r.log.Warn("not on record: start times of containers, or that snapshots are not needed any more", "writes", pending, "error", err)
	}
}

// write has fn and all that was to be written later written in one transaction, where Config.Batch makes that possible. fn may be
// called twice.
func (r *Runtime) write(ctx context.Context, fn func(ctx context.Context) error) error {
	r.later.mu.Lock()
	pending := r.later.writes
	r.later.writes = nil
	r.later.mu.Unlock()
	ctx = r.namespaced(ctx)
	err := r.cfg.Batch(ctx, func(ctx context.Context) error {
		for _, key := range slices.Sorted(maps.Keys(pending)) {
			pending[key](context.WithoutCancel(ctx))
		}
		return fn(ctx)
	})
	if err != nil {
		r.putBack(pending)
	}
	return err
}

// putBack has writes whose transaction failed tried again, unless there are newer ones.
func (r *Runtime) putBack(pending map[string]func(ctx context.Context)) {
	for key, fn := range pending {
		r.later.mu.Lock()
		_, newer := r.later.writes[key]
		r.later.mu.Unlock()
		if !newer && r.ctx.Err() == nil {
			r.writeLater(key, fn)
		}
	}
}
