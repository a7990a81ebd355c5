// SPDX-License-Identifier: Apache-2.0

package stats

import (
	"context"
	"time"
)

const (
	// windowMin is the shortest time over which a rate of CPU use is taken: shorter
	// ones say more of the moment than of the Pod.
	windowMin = time.Second
	// windowMax is how old the reading before may be; an older one is dropped.
	windowMax = time.Minute
)

// samples keeps the last two readings, for rates, as long as somebody asks for
// them.
type samples struct {
	take func() *sample
	// turn is held by whoever reads: who comes meanwhile waits for the result.
	turn        chan struct{}
	before, now *sample
	forget      *time.Timer
}

func (s *samples) init(take func() *sample) { s.take, s.turn = take, make(chan struct{}, 1) }

// pair returns two readings between windowMin and windowMax apart, of which the
// second was taken at most windowMin ago. The first request after a while waits
// for windowMin.
func (s *samples) pair(ctx context.Context) (before, now *sample, err error) {
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	}
	if s.now != nil && s.before != nil && time.Since(s.now.at) < windowMin {
		return s.before, s.now, nil
	}
	base := s.now
	if base == nil || time.Since(base.at) > windowMax {
		base = s.take()
	}
	if wait := windowMin - time.Since(base.at); wait > 0 {
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		}
	}
	s.before, s.now = base, s.take()
	if s.forget != nil {
		s.forget.Stop()
	}
	s.forget = time.AfterFunc(windowMax, s.drop)
	return s.before, s.now, nil
}

// drop frees the readings of the last request.
func (s *samples) drop() {
	s.turn <- struct{}{}
	if s.now != nil && time.Since(s.now.at) >= windowMax {
		s.before, s.now = nil, nil
	}
	<-s.turn
}

// nanoCores is the CPU use of a cgroup between two readings, in nanoseconds a
// second, and the time that it was measured over. One that began between the two
// counts from its beginning. It is false for what was read only once.
func nanoCores(before, now *sample, cgroup string, began time.Time) (rate uint64, window time.Duration, ok bool) {
	after, there := now.by[cgroup]
	if !there {
		return 0, 0, false
	}
	from, used := began, after.CPUNanos
	if first, there := before.by[cgroup]; there {
		if first.CPUNanos > after.CPUNanos { // a new cgroup of the same name
			return 0, 0, false
		}
		from, used = first.At, after.CPUNanos-first.CPUNanos
	} else if began.Before(before.at) {
		return 0, 0, false
	}
	window = after.At.Sub(from)
	if window <= 0 {
		return 0, 0, false
	}
	return uint64(float64(used) / window.Seconds()), window, true
}
