// SPDX-License-Identifier: Apache-2.0

package podmgr

import (
	"context"
	"testing"
	"time"
)

func open(t *ticket) bool {
	select {
	case <-t.passed:
		return true
	default:
		return false
	}
}

func TestGateLetsThroughInOrder(t *testing.T) {
	g := newGate(2, time.Hour)
	a, b, c, d := g.enter(), g.enter(), g.enter(), g.enter()
	if !open(a) || !open(b) || open(c) || open(d) {
		t.Fatal("not the first two")
	}
	c.leave() // gives up before its turn
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	if d.wait(canceled) == nil {
		t.Fatal("passed a closed gate")
	}
	b.leave()
	if !open(d) || open(c) {
		t.Fatal("the next in the queue did not pass")
	}
	a.leave()
	d.leave()
	if e, f, h := g.enter(), g.enter(), g.enter(); !open(e) || !open(f) || open(h) {
		t.Fatal("places were lost or made")
	}
}

// A step that hangs, on a mount that does not answer for instance, gives its place to
// the next one, and has none to give when it ends after all.
func TestGateDoesNotWaitForWhatHangs(t *testing.T) {
	g := newGate(1, time.Millisecond)
	hangs, next := g.enter(), g.enter()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := next.wait(ctx); err != nil {
		t.Fatal("the next one waits for one that hangs")
	}
	g.patience = time.Hour
	next.leave()
	last := g.enter()
	hangs.leave()
	if !open(last) || open(g.enter()) {
		t.Fatal("places were lost or made")
	}
}
