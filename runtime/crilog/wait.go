// SPDX-License-Identifier: Apache-2.0

package crilog

import (
	"context"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
)

// pollEvery is how often a log is looked at when the machine has no inotify
// watch left for it (fs.inotify.max_user_instances).
const pollEvery = 200 * time.Millisecond

// waiter wakes when something happens in a log's directory.
type waiter struct{ watch *fsnotify.Watcher }

func newWaiter(path string) waiter {
	watch, err := fsnotify.NewWatcher()
	if err != nil {
		return waiter{}
	}
	if err := watch.Add(filepath.Dir(path)); err != nil {
		watch.Close()
		return waiter{}
	}
	return waiter{watch}
}

func (w waiter) Close() {
	if w.watch != nil {
		w.watch.Close()
	}
}

// Wait returns when there may be more to read, with finished set when done is
// closed.
func (w waiter) Wait(ctx context.Context, done <-chan struct{}) (finished bool, err error) {
	var (
		events chan fsnotify.Event
		errs   chan error
		poll   <-chan time.Time
	)
	if w.watch != nil {
		events, errs = w.watch.Events, w.watch.Errors
	} else {
		timer := time.NewTimer(pollEvery)
		defer timer.Stop()
		poll = timer.C
	}
	select {
	case <-events:
	case <-errs: // an overflow, say: events were lost, so look
	case <-poll:
	case <-done:
		return true, nil
	case <-ctx.Done():
		return false, ctx.Err()
	}
	return false, nil
}
