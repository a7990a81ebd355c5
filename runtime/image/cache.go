// SPDX-License-Identifier: Apache-2.0

package image

import (
	"container/list"
	"sync"

	"github.com/opencontainers/go-digest"
)

// detailsCache remembers the details of the images used last, so that starting a container reads no JSON. Keys are digests,
// so an entry can never be stale, only useless.
type detailsCache struct {
	mu       sync.Mutex
	most     int
	byKey    map[digest.Digest]*list.Element
	byRecent *list.List // of *cached, most recently used first
}

type cached struct {
	key     digest.Digest
	details *details
}

// maxCachedConfig keeps single huge configurations out, so that the cache as a whole is bounded.
const maxCachedConfig = 64 << 10

func newDetailsCache(most int) *detailsCache {
	return &detailsCache{most: most, byKey: map[digest.Digest]*list.Element{}, byRecent: list.New()}
}

func (c *detailsCache) get(key digest.Digest) *details {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.byKey[key]
	if !ok {
		return nil
	}
	c.byRecent.MoveToFront(e)
	return e.Value.(*cached).details
}

func (c *detailsCache) put(key digest.Digest, d *details) {
	if d.config.Size > maxCachedConfig {
		return
	}
	// What only a builder needs is the larger part of most configurations.
	d.image.History = nil
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.byKey[key]; ok {
		e.Value.(*cached).details = d
		c.byRecent.MoveToFront(e)
		return
	}
	c.byKey[key] = c.byRecent.PushFront(&cached{key, d})
	if c.byRecent.Len() > c.most {
		oldest := c.byRecent.Back()
		delete(c.byKey, oldest.Value.(*cached).key)
		c.byRecent.Remove(oldest)
	}
}

func (c *detailsCache) drop(key digest.Digest) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.byKey[key]; ok {
		delete(c.byKey, key)
		c.byRecent.Remove(e)
	}
}
