// SPDX-License-Identifier: Apache-2.0

package podmgr

import (
	"context"
	"testing"
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
	g := newGate(2)
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
