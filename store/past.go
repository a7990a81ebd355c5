// SPDX-License-Identifier: Apache-2.0

package store

import (
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	bolt "go.etcd.io/bbolt"
)

// ScanAt is Scan for the objects as they were at a revision. It fails with ErrTooOld
// when the changes since then are no longer kept.
func (s *Store) ScanAt(resource, namespace, after string, at uint64, each func(key string, data Data) error) error {
	return s.db.View(func(tx *bolt.Tx) error {
		past, err := s.past(resource, at, revisionIn(tx))
		if err != nil {
			return err
		}
		keys := slices.DeleteFunc(slices.Sorted(maps.Keys(past)), func(key string) bool {
			return key <= after || namespace != "" && !strings.HasPrefix(key, namespace+"/")
		})
		then := func() error { // tells the first of keys, if it was there
			key := keys[0]
			keys = keys[1:]
			if past[key] == nil {
				return nil
			}
			return each(key, Data{past[key]})
		}
		err = scan(tx, resource, namespace, after, func(key string, data Data) error {
			for len(keys) > 0 && keys[0] < key { // it is gone now
				if err := then(); err != nil {
					return err
				}
			}
			if len(keys) > 0 && keys[0] == key {
				return then()
			}
			return each(key, data)
		})
		for err == nil && len(keys) > 0 {
			err = then()
		}
		return err
	})
}

// past is how the objects of a resource that have changed between two revisions were
// at the first of them, by their keys; nil for those that did not exist.
func (s *Store) past(resource string, at, now uint64) (map[string][]byte, error) {
	for s.Revision() < now { // its changes come into the ring right after they are on disk
		time.Sleep(50 * time.Microsecond)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	records, err := s.ring.since(resource, at, math.MaxInt)
	out := make(map[string][]byte)
	for _, r := range records {
		if _, seen := out[r.key]; !seen && r.revision <= now {
			out[r.key] = r.previous
		}
	}
	return out, err
}
