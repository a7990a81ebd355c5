// SPDX-License-Identifier: Apache-2.0

package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"strconv"
	"sync"
	"time"

	bolt "go.etcd.io/bbolt"
	"golang.org/x/sys/unix"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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
	check    func(old *Data) error

	before string // its resourceVersion when it came
	record *record
	err    error
	done   chan struct{}
}

// write does one change, durably, and tells the watchers.
func (s *Store) write(resource string, kind EventType, obj Object, check func(old *Data) error) error {
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
	err := s.db.Update(func(tx *bolt.Tx) error {
		for _, c := range batch {
			if c.err = s.apply(tx, c, revision+1); c.err == nil {
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
			c.err = s.unwritten(err)
		}
		if c.err != nil {
			c.obj.SetResourceVersion(c.before)
			continue
		}
		s.revision = c.record.revision
		s.publish(c.record)
	}
}

// unwritten is why a transaction could not be written. A full disk has a status of its
// own: what is stored can be read on, and writes go on when there is room again.
func (s *Store) unwritten(err error) error {
	if !errors.Is(err, unix.ENOSPC) && !errors.Is(err, unix.EDQUOT) {
		return err
	}
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusInsufficientStorage, Reason: metav1.StatusReasonInternalError,
		Message: fmt.Sprintf("nothing can be written to %s: %v; make room on its disk", s.db.Path(), err),
	}}
}

// apply makes one change in a transaction, and its record.
func (s *Store) apply(tx *bolt.Tx, c *change, revision uint64) error {
	b, err := tx.Bucket(bucketObjects).CreateBucketIfNotExists([]byte(c.resource))
	if err != nil {
		return err
	}
	k := key(c.obj.GetNamespace(), c.obj.GetName())
	old, before := b.Get(k), (*Data)(nil)
	if old != nil {
		before = &Data{old}
	}
	if err := c.check(before); err != nil {
		return err
	}
	c.obj.SetResourceVersion(version(revision))
	r := &record{
		kind: c.kind, resource: c.resource, key: string(k), revision: revision,
		typ: reflect.TypeOf(c.obj).Elem(), previous: s.keep(c.resource, k, old),
	}
	c.record = r
	if c.kind == Deleted {
		r.object = r.previous
		return b.Delete(k)
	}
	data, err := encode(c.obj, revision)
	if err != nil {
		return fmt.Errorf("%s %s: %w", c.resource, k, err)
	}
	r.object = data.bytes
	return b.Put(k, data.bytes)
}

// keep makes bytes of a transaction last, or finds them in the ring.
func (s *Store) keep(resource string, k, data []byte) []byte {
	if data == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if have := s.ring.newest[resource+"/"+string(k)]; bytes.Equal(have, data) {
		return have
	}
	return bytes.Clone(data)
}

func version(revision uint64) string { return strconv.FormatUint(revision, 10) }
