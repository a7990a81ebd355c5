// SPDX-License-Identifier: Apache-2.0

package podmgr

import (
	"context"
	"time"

	"github.com/minikubelet/minikubelet/podmgr/probe"
)

// lane bounds probes of one sort.
type lane struct {
	free    int
	waiting []*task
}

func (p *prober) lane(t *task) *lane {
	if t.spec.Exec != nil {
		return &p.lanes[0]
	}
	return &p.lanes[1]
}

// workOn makes a probe and then those that come, unless enough others wait for them.
func (p *prober) workOn(ctx context.Context, t *task) {
	for t != nil {
		p.work(t)
		t = p.awaitTask(ctx)
	}
}

// awaitTask gives a goroutine its next probe; none if it is not needed.
func (p *prober) awaitTask(ctx context.Context) (t *task) {
	p.mu.Lock()
	if p.idlers == idleMax {
		p.mu.Unlock()
		return nil
	}
	p.idlers++
	p.mu.Unlock()
	select {
	case t = <-p.idle:
	case <-ctx.Done():
	}
	p.mu.Lock()
	p.idlers--
	p.mu.Unlock()
	return t
}

// work makes a probe, and then those of its lane that wait.
func (p *prober) work(t *task) {
	for t != nil {
		if t.ctx.Err() == nil {
			began := time.Now()
			outcome, err := p.run(t.ctx, t.spec, t.target())
			if t.probed != nil && t.ctx.Err() == nil {
				t.probed(t.kind, resultWord(outcome, err), time.Since(began))
			}
			p.done(t, outcome, err)
		}
		p.mu.Lock()
		l := p.lane(t)
		if len(l.waiting) > 0 {
			t, l.waiting = l.waiting[0], l.waiting[1:]
		} else {
			l.free++
			t = nil
		}
		p.mu.Unlock()
	}
}

// resultWord is the kubelet's word in its metrics.
func resultWord(outcome probe.Outcome, err error) string {
	switch {
	case err != nil:
		return "unknown"
	case outcome.Result == probe.Failure:
		return "failed"
	}
	return "successful"
}
