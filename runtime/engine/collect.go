// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/core/metadata"
	"github.com/containerd/containerd/v2/pkg/gc"
	"github.com/containerd/containerd/v2/plugins"
	ctdlog "github.com/containerd/log"
	"github.com/containerd/plugin"
)

const (
	// collectDelay is from the first removal to the pass of the garbage collector
	// that gives the disk space back, and from the start to the first pass. A pass
	// costs some transactions, and what is removed together goes in one.
	collectDelay = 2 * time.Second
	// collectRetry is how long after a pass that failed the next one is.
	collectRetry = time.Minute
)

// collector runs containerd's garbage collector when there is garbage, and never
// otherwise: containerd's own scheduler wakes up several times a second.
type collector struct {
	db *metadata.DB
	// batches are excluded from a pass, see batcher.
	batches *sync.RWMutex
	store   *snapshotter

	dirty    chan struct{}
	requests chan chan<- collected
	stop     context.CancelFunc
	ended    chan struct{}
}

type collected struct {
	stats gc.Stats
	err   error
}

// newCollector stands in for the scheduler's own function.
func (s *pluginSet) newCollector(ic *plugin.InitContext) (any, error) {
	m, err := ic.GetSingle(plugins.MetadataPlugin)
	if err != nil {
		return nil, err
	}
	db, ok := m.(*metadata.DB)
	if !ok {
		return nil, fmt.Errorf("metadata plugin is a %T", m)
	}
	o, err := ic.GetByID(plugins.SnapshotPlugin, overlayName)
	if err != nil {
		return nil, err
	}
	store, ok := o.(*snapshotter)
	if !ok {
		return nil, fmt.Errorf("snapshotter plugin is a %T", o)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(ic.Context))
	c := &collector{
		db: db, batches: new(sync.RWMutex), store: store,
		dirty: make(chan struct{}, 1), requests: make(chan chan<- collected), stop: stop, ended: make(chan struct{}),
	}
	s.batcher = &batcher{db: db, collecting: c.batches, discard: store.discard}
	if err := store.sweep(ctx, db.Snapshotter(overlayName)); err != nil {
		stop()
		return nil, err
	}
	if err := store.Cleanup(ctx); err != nil {
		stop()
		return nil, fmt.Errorf("remove snapshots on no record: %w", err)
	}
	db.RegisterMutationCallback(c.mutated)
	go c.run(ctx)
	return c, nil
}

// mutated is called after each transaction, with locks held.
func (c *collector) mutated(dirty bool) {
	if !dirty {
		return
	}
	select {
	case c.dirty <- struct{}{}:
	default:
	}
}

// run makes passes until Close; the last one if there is garbage then.
func (c *collector) run(ctx context.Context) {
	defer close(c.ended)
	c.store.empty(ctx)
	timer, due := time.NewTimer(collectDelay), true
	defer timer.Stop()
	pass := func(ctx context.Context) collected {
		result := c.pass(ctx)
		if due = result.err != nil; due {
			timer.Reset(collectRetry)
		} else {
			timer.Stop()
		}
		return result
	}
	for {
		select {
		case <-c.dirty:
			if !due {
				timer.Reset(collectDelay)
				due = true
			}
		case <-timer.C:
			if r := pass(ctx); r.err != nil && ctx.Err() == nil {
				ctdlog.G(ctx).WithError(r.err).Error("collect garbage")
			}
		case answer := <-c.requests:
			answer <- pass(ctx)
		case <-ctx.Done():
			select {
			case <-c.dirty:
				c.pass(context.WithoutCancel(ctx))
			default:
				if due {
					c.pass(context.WithoutCancel(ctx))
				}
			}
			return
		}
	}
}

// pass collects garbage once.
func (c *collector) pass(ctx context.Context) collected {
	c.batches.Lock()
	stats, err := c.db.GarbageCollect(ctx)
	c.batches.Unlock()
	c.store.empty(ctx)
	return collected{stats, err}
}

// ScheduleAndWait collects at once; containerd's services call it for removals
// that are asked to be synchronous.
func (c *collector) ScheduleAndWait(ctx context.Context) (gc.Stats, error) {
	answer := make(chan collected, 1)
	select {
	case c.requests <- answer:
	case <-c.ended:
		return nil, errors.New("the engine is closed")
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	select {
	case r := <-answer:
		return r.stats, r.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Close ends the collector. Garbage goes before, so that what a short-lived
// process has removed does not wait for the next.
func (c *collector) Close() error {
	c.stop()
	<-c.ended
	return nil
}
