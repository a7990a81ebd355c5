// SPDX-License-Identifier: Apache-2.0

package podmgr

import (
	"context"
	"sync"
)

// gate lets a bounded number of steps go on at the same time, in the order in
// which they asked. Making a container is work for the processor: making many more
// of them at once than there are cores makes each of them late, the one that is to
// start next included. One more than that fills the pauses in which a runtime's
// processes wait for each other, and the cores when the last ones are odd.
type gate struct {
	mu    sync.Mutex
	free  int
	queue []*ticket
}

// ticket is a place in the queue; passed is closed when its turn has come.
type ticket struct {
	gate   *gate
	passed chan struct{}
}

func newGate(size int) *gate { return &gate{free: size} }

// enter takes the next place. Every ticket must be given back by leave.
func (g *gate) enter() *ticket {
	g.mu.Lock()
	defer g.mu.Unlock()
	t := &ticket{gate: g, passed: make(chan struct{})}
	if g.free > 0 {
		g.free--
		close(t.passed)
	} else {
		g.queue = append(g.queue, t)
	}
	return t
}

// wait returns when the turn has come or ctx has ended.
func (t *ticket) wait(ctx context.Context) error {
	select {
	case <-t.passed:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// leave gives the ticket back, whether its turn had come or not.
func (t *ticket) leave() {
	g := t.gate
	g.mu.Lock()
	defer g.mu.Unlock()
	for i, other := range g.queue {
		if other == t {
			g.queue = append(g.queue[:i], g.queue[i+1:]...)
			return
		}
	}
	if len(g.queue) == 0 {
		g.free++
		return
	}
	next := g.queue[0]
	g.queue = g.queue[1:]
	close(next.passed)
}
