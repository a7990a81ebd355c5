// SPDX-License-Identifier: Apache-2.0

package podmgr

import (
	"context"
	"sync"
	"time"
)

// gate lets a bounded number of steps go on at the same time, in the order in
// which they asked. Making a container is work for the processor: making many more
// of them at once than there are cores makes each of them late, the one that is to
// start next included. One more than that fills the pauses in which a runtime's
// processes wait for each other, and the cores when the last ones are odd.
//
// What takes longer than the gate's patience does not work but wait, for a mount whose
// server does not answer, for instance: others go on in its place.
type gate struct {
	mu       sync.Mutex
	free     int
	queue    []*ticket
	patience time.Duration
}

// createPatience is long for making a container on a slow machine, and bearable for the
// others.
const createPatience = 10 * time.Second

// ticket is a place in the queue; passed is closed when its turn has come.
type ticket struct {
	gate   *gate
	passed chan struct{}
	left   bool        // gate.mu guards it
	over   *time.Timer // nil before its turn
}

func newGate(size int, patience time.Duration) *gate { return &gate{free: size, patience: patience} }

// enter takes the next place. Every ticket must be given back by leave.
func (g *gate) enter() *ticket {
	g.mu.Lock()
	defer g.mu.Unlock()
	t := &ticket{gate: g, passed: make(chan struct{})}
	if g.free > 0 {
		g.free--
		t.pass()
	} else {
		g.queue = append(g.queue, t)
	}
	return t
}

// pass begins the ticket's turn; gate.mu is held.
func (t *ticket) pass() {
	t.over = time.AfterFunc(t.gate.patience, t.leave)
	close(t.passed)
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

// leave gives the ticket back, whether its turn had come or not. It may be repeated.
func (t *ticket) leave() {
	g := t.gate
	g.mu.Lock()
	defer g.mu.Unlock()
	if t.left {
		return
	}
	t.left = true
	if t.over != nil {
		t.over.Stop()
	}
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
	next.pass()
}
