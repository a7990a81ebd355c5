// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"errors"
	"time"
)

// Follower keeps something up to date with what is stored. Its functions are called
// one at a time; All and Work may be nil.
type Follower struct {
	// All looks at everything: at first, and again whenever changes were missed.
	All func() error
	// See takes note of a change, and tells whether there is work because of it.
	See func(Event) (work bool)
	// Work does what there is to do: after All, and when See says so.
	// When it returns false it is called again after Retry, if not sooner.
	Work  func() (done bool)
	Retry time.Duration
}

// Follow has a follower follow one resource, or All, until ctx or the store ends,
// which is no error. It fails with All, or when a change cannot be read.
func (s *Store) Follow(ctx context.Context, resource string, f Follower) error {
	for {
		w := s.Watch(resource, s.Revision())
		var err error
		if f.All != nil {
			err = f.All()
		}
		if err == nil {
			err = f.follow(ctx, w)
		}
		w.Close()
		switch {
		case ctx.Err() != nil || errors.Is(err, ErrClosed):
			return nil
		case !errors.Is(err, ErrTooOld):
			return err
		}
	}
}

// follow returns why there is no next change.
func (f *Follower) follow(ctx context.Context, w *Watcher) error {
	var retry time.Time // zero: all is done
	for work := true; ; {
		if work && f.Work != nil {
			if retry = (time.Time{}); !f.Work() {
				retry = time.Now().Add(f.Retry)
			}
		}
		wait, cancel := ctx, context.CancelFunc(func() {})
		if !retry.IsZero() {
			wait, cancel = context.WithDeadline(ctx, retry)
		}
		e, err := w.Next(wait)
		cancel()
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err == nil:
			work = f.See(e)
		case errors.Is(err, context.DeadlineExceeded):
			work = true
		default:
			return err
		}
	}
}
