// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"sync"

	"github.com/containerd/containerd/v2/core/metadata"
	"github.com/containerd/containerd/v2/core/metadata/boltutil"
	bolt "go.etcd.io/bbolt"
)

// batcher has several writes to containerd's metadata share a transaction, and
// with it the two synchronisations of the disk that each transaction costs.
//
// Batches that are asked for while another is being written wait for it and then
// share one transaction too, so that ten Pods that start at once do not cost ten
// times one.
type batcher struct {
	db *metadata.DB
	// collecting is held for reading by a batch and for writing by the garbage
	// collector: containerd locks a snapshotter before its database, a batch the
	// other way round, and with the collector waiting for the snapshotter's lock
	// three of them would wait for each other for ever.
	collecting *sync.RWMutex
	// discard removes snapshots that were made for a transaction that failed.
	discard func(ctx context.Context, keys []string)

	mu      sync.Mutex
	waiting []*batch
	writing bool
}

// batch is what one caller wants written.
type batch struct {
	ctx  context.Context
	fn   func(ctx context.Context) error
	done chan error
}

// do runs fn with a context that carries the transaction, and returns when it is
// on disk. fn may be called again, after a transaction that failed for what
// somebody else wanted to write: it does nothing but write.
func (b *batcher) do(ctx context.Context, fn func(ctx context.Context) error) error {
	mine := &batch{ctx: ctx, fn: fn, done: make(chan error, 1)}
	b.mu.Lock()
	b.waiting = append(b.waiting, mine)
	if !b.writing {
		b.writing = true
		go b.drain()
	}
	b.mu.Unlock()
	return <-mine.done
}

// drain writes until nobody waits.
func (b *batcher) drain() {
	for {
		b.mu.Lock()
		group := b.waiting
		b.waiting = nil
		if len(group) == 0 {
			b.writing = false
			b.mu.Unlock()
			return
		}
		b.mu.Unlock()
		if err := b.write(group); err == nil || len(group) == 1 {
			for _, one := range group {
				one.done <- err
			}
			continue
		}
		for _, one := range group { // the fault of one is not the others'
			one.done <- b.write([]*batch{one})
		}
	}
}

// write writes a group, all or nothing.
func (b *batcher) write(group []*batch) error {
	b.collecting.RLock()
	defer b.collecting.RUnlock()
	var made []string
	err := b.db.Update(func(tx *bolt.Tx) error {
		for _, one := range group {
			ctx := withMade(boltutil.WithTransaction(one.ctx, tx), &made)
			if err := one.fn(ctx); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil && len(made) > 0 {
		b.discard(context.WithoutCancel(group[0].ctx), made)
	}
	return err
}

type madeKey struct{}

// withMade has snapshots that are made with the context noted.
func withMade(ctx context.Context, made *[]string) context.Context {
	return context.WithValue(ctx, madeKey{}, made)
}

// noteMade notes a snapshot, in a batch.
func noteMade(ctx context.Context, key string) {
	if made, ok := ctx.Value(madeKey{}).(*[]string); ok {
		*made = append(*made, key)
	}
}
