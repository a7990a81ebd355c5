// SPDX-License-Identifier: Apache-2.0

package podmgr

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"

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

// enter takes those tasks that are due into their lanes for which there is room, and
// begins them: commands are run elsewhere, the others are returned. p.mu is held.
func (p *prober) enter(ctx context.Context, due []*task) (asking []*task) {
	for _, t := range due {
		l := p.lane(t)
		if l.free == 0 {
			l.waiting = append(l.waiting, t)
			continue
		}
		l.free--
		t.began = time.Now()
		if t.spec.Exec != nil {
			p.start(ctx, func() { p.alone(ctx, t, p.run) })
		} else {
			asking = append(asking, t)
		}
	}
	return asking
}

// leave says that so many of a lane are over, and lets in those that wait for it.
func (p *prober) leave(ctx context.Context, l *lane, n int) (asking []*task) {
	p.mu.Lock()
	defer p.mu.Unlock()
	l.free += n
	next := l.waiting[:min(n, len(l.waiting))]
	l.waiting = l.waiting[len(next):]
	return p.enter(ctx, next)
}

// start runs f in a goroutine that waits for work, or else in a new one, which stays
// unless enough others do.
func (p *prober) start(ctx context.Context, f func()) {
	select {
	case p.idle <- f:
	default:
		go func() {
			for f := f; f != nil; f = p.awaitWork(ctx) {
				f()
			}
		}()
	}
}

// awaitWork gives a goroutine its next work; none if it is not needed.
func (p *prober) awaitWork(ctx context.Context) (f func()) {
	p.mu.Lock()
	if p.idlers == idleMax {
		p.mu.Unlock()
		return nil
	}
	p.idlers++
	p.mu.Unlock()
	select {
	case f = <-p.idle:
	case <-ctx.Done():
	}
	p.mu.Lock()
	p.idlers--
	p.mu.Unlock()
	return f
}

// ask makes probes over the network. Those that are quick it makes together; those
// whose answers take their time, and all others, are made elsewhere.
func (p *prober) ask(ctx context.Context, list []*task) {
	for len(list) > 0 {
		var begun []*task
		for _, t := range list {
			if p.prepare(t); t.prepared == nil {
				p.start(ctx, func() { p.alone(ctx, t, p.run) })
				continue
			}
			t.prepared.Begin()
			begun = append(begun, t)
		}
		if len(begun) == 0 {
			return
		}
		time.Sleep(probe.AnswerTime)
		over := 0
		for _, t := range begun {
			if outcome, ok := t.prepared.Look(); ok {
				p.made(t, outcome, nil)
				over++
			} else {
				p.start(ctx, func() { p.alone(ctx, t, t.finish) })
			}
		}
		list = p.leave(ctx, &p.lanes[1], over)
	}
}

// prepare makes a task's probe ready, if it is a quick one.
func (p *prober) prepare(t *task) {
	if p.quick == nil {
		return
	}
	if target := t.target(); target.IP != t.address {
		t.address, t.prepared = target.IP, p.quick(t.spec, target)
	}
}

// finish ends a quick probe that was begun.
func (t *task) finish(ctx context.Context, _ *corev1.Probe, _ probe.Target) (probe.Outcome, error) {
	return t.prepared.Finish(ctx)
}

// alone makes a probe that may have to be waited for.
func (p *prober) alone(ctx context.Context, t *task, run runFunc) {
	if t.ctx.Err() == nil {
		outcome, err := run(t.ctx, t.spec, t.target())
		p.made(t, outcome, err)
	} else if t.prepared != nil {
		t.prepared.GiveUp()
	}
	p.ask(ctx, p.leave(ctx, p.lane(t), 1))
}

// made tells of a probe that was made.
func (p *prober) made(t *task, outcome probe.Outcome, err error) {
	if t.probed != nil && t.ctx.Err() == nil {
		t.probed(t.kind, resultWord(outcome, err), time.Since(t.began))
	}
	p.done(t, outcome, err)
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
