// SPDX-License-Identifier: Apache-2.0

package store

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"
)

// commits gathers the writes that come while another one is on its way to the
// disk: they share the next transaction and its wait, in the order in which they
// came.
type commits struct {
	mu    sync.Mutex
	queue []*change
	busy  bool
}

// change is one write on its way.
type change struct {
	resource string
	kind     EventType
	obj      Object // the writer's own, which waits meanwhile
	check    func(old []byte) error

	before string // its resourceVersion when it came
	event  Event
	err    error
	done   chan struct{}
}

func (c *change) id() string {
	return c.resource + "/" + string(key(c.obj.GetNamespace(), c.obj.GetName()))
}

// write does one change, durably, and tells the watchers.
func (s *Store) write(resource string, kind EventType, obj Object, check func(old []byte) error) error {
	c := &change{
		resource: resource, kind: kind, obj: obj, check: check, before: obj.GetResourceVersion(), done: make(chan struct{}),
	}
	s.commits.mu.Lock()
	s.commits.queue = append(s.commits.queue, c)
	lead := !s.commits.busy
	s.commits.busy = true
	s.commits.mu.Unlock()
	if lead {
		s.commitQueued()
	}
	<-c.done
	return c.err
}

// commitQueued commits what waits. What comes meanwhile is another goroutine's
// work: the caller has its answer.
func (s *Store) commitQueued() {
	s.commits.mu.Lock()
	batch := s.commits.queue
	s.commits.queue = nil
	s.commits.mu.Unlock()

	s.commit(batch)
	for _, c := range batch {
		close(c.done)
	}

	s.commits.mu.Lock()
	defer s.commits.mu.Unlock()
	if s.commits.busy = len(s.commits.queue) > 0; s.commits.busy {
		go s.commitQueued()
	}
}

// errNothing rolls back a transaction in which every change was refused.
var errNothing = errors.New("nothing to commit")

// commit does changes in one transaction. A refused one leaves the others alone;
// when the transaction fails, all have failed. One goroutine at a time calls it.
func (s *Store) commit(batch []*change) {
	s.mu.Lock()
	revision := s.revision
	s.mu.Unlock()
	began, done, size := time.Now(), 0, int64(0)
	inBatch := make(map[string]Object) // what earlier changes of this batch made
	err := s.db.Update(func(tx *bolt.Tx) error {
		for _, c := range batch {
			if c.err = s.apply(tx, c, revision+1, inBatch); c.err == nil {
				revision++
				done++
			}
		}
		if done == 0 {
			return errNothing
		}
		size = tx.Size()
		return tx.Bucket(bucketMeta).Put(keyRevision, binary.BigEndian.AppendUint64(nil, revision))
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	if !errors.Is(err, errNothing) {
		s.stats.count(done, time.Since(began), size, err)
	}
	for _, c := range batch {
		if c.err == nil && err != nil {
			c.err = err
		}
		if c.err != nil {
			c.obj.SetResourceVersion(c.before)
			continue
		}
		s.revision = c.event.Revision
		if c.kind == Deleted {
			delete(s.latest, c.id())
		} else {
			s.latest[c.id()] = c.event.Object
		}
		s.publish(c.event)
	}
}

// apply makes one change in a transaction, and its event.
func (s *Store) apply(tx *bolt.Tx, c *change, revision uint64, inBatch map[string]Object) error {
	b, err := tx.Bucket(bucketObjects).CreateBucketIfNotExists([]byte(c.resource))
	if err != nil {
		return err
	}
	k, id := key(c.obj.GetNamespace(), c.obj.GetName()), c.id()
	old := b.Get(k)
	if err := c.check(old); err != nil {
		return err
	}
	previous, err := s.previous(c, old, inBatch)
	if err != nil {
		return fmt.Errorf("%s: %w", id, err)
	}
	c.obj.SetResourceVersion(strconv.FormatUint(revision, 10))
	c.event = Event{Type: c.kind, Resource: c.resource, Revision: revision, Previous: previous}
	if c.kind == Deleted {
		c.event.Object = previous.DeepCopyObject().(Object)
		c.event.Object.SetResourceVersion(c.obj.GetResourceVersion())
		delete(inBatch, id)
		return b.Delete(k)
	}
	data, err := json.Marshal(c.obj)
	if err == nil {
		err = b.Put(k, data)
	}
	if err != nil {
		return err
	}
	c.event.Object = c.obj.DeepCopyObject().(Object)
	inBatch[id] = c.event.Object
	return nil
}

// previous is the object before a change, nil if there was none.
func (s *Store) previous(c *change, old []byte, inBatch map[string]Object) (Object, error) {
	if old == nil {
		return nil, nil
	}
	if p := inBatch[c.id()]; p != nil {
		return p, nil
	}
	s.mu.Lock()
	p := s.latest[c.id()]
	s.mu.Unlock()
	if p != nil {
		return p, nil
	}
	p = reflect.New(reflect.TypeOf(c.obj).Elem()).Interface().(Object)
	return p, json.Unmarshal(old, p)
}
