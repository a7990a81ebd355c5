// SPDX-License-Identifier: Apache-2.0

package store

import "time"

// Stats is what a store has done since it was opened.
type Stats struct {
	// Commits are transactions that were written; Writes the changes in them, which
	// share a transaction when they come at the same time; Failed the transactions
	// that could not be written.
	Commits, Writes, Failed uint64
	// CommitTime is what all of them took, waiting for the disk included.
	CommitTime time.Duration
	// Bytes is the size of the file.
	Bytes int64
	// Watchers are the watches that are open.
	Watchers int
	Revision uint64
}

// Stats tells what the store has done.
func (s *Store) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.stats
	out.Watchers, out.Revision = len(s.watchers), s.revision
	return out
}

// count adds a transaction; s.mu is held.
func (s *Stats) count(writes int, took time.Duration, bytes int64, err error) {
	s.CommitTime += took
	if bytes > 0 {
		s.Bytes = bytes
	}
	if err != nil {
		s.Failed++
		return
	}
	s.Commits++
	s.Writes += uint64(writes)
}
