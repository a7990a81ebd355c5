// SPDX-License-Identifier: Apache-2.0

package podmgr

import (
	"cmp"
	"container/heap"
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/minikubelet/minikubelet/podmgr/plan"
	"github.com/minikubelet/minikubelet/podmgr/probe"
)

const (
	// execProbesMax and netProbesMax bound the probes under way, those that run a
	// process and those that only wait for an answer. More wait for their turn.
	execProbesMax, netProbesMax = 16, 128
	// slackPart of its period, and slackMax at most, a probe may be made too early to share
	// a wake-up: each costs more than what there is to do.
	slackPart, slackMax = 10, time.Second
	// idleMax is how many goroutines wait for the next probe: a new one has to grow its
	// stack first, each time.
	idleMax = 16
	// firstLook is when a container is first asked whether it is up; see task.early.
	firstLook = 100 * time.Millisecond
	// eventBurst and eventEvery bound the events of one container's probes: so many
	// at once, then one in so long. The kubelet's client bounds its events alike.
	eventBurst, eventEvery = 25, 5 * time.Minute
)

// runFunc makes a probe, as probe.Prober.Run does.
type runFunc func(context.Context, *corev1.Probe, probe.Target) (probe.Outcome, error)

// prober makes the probes of all running containers: one goroutine waits for those
// that are due and makes the quick ones among them, and each other under way has one
// more.
type prober struct {
	run runFunc
	// quick prepares a probe that is made with others; it may be nil.
	quick func(*corev1.Probe, probe.Target) *probe.Quick
	// changed is told the Pod's UID when a result changed; it must not block.
	changed func(uid string)
	wake    chan struct{}
	// idle are goroutines that wait for work.
	idle chan func()

	mu       sync.Mutex
	idlers   int
	began    time.Time
	subjects map[string]map[string]*subject // by Pod UID and container ID
	tasks    tasks
	lanes    [2]lane
	next     time.Time // when serve wakes up by itself
}

// subject is a running container that has probes.
type subject struct {
	uid, id   string
	container *corev1.Container
	startedAt time.Time
	// known is what an earlier agent found out.
	known plan.Probes
	// target is asked for anew before each probe; tell makes an event.
	target func() probe.Target
	tell   func(kind, reason, message string)
	// probed, when set, hears of every probe.
	probed func(kind, result string, took time.Duration)
	// ending: it is being stopped, and only its readiness matters.
	ending bool

	// events may be made, as many as there are and one more at more.
	events int
	more   time.Time

	results plan.Probes
	tasks   []*task
	ctx     context.Context
	cancel  context.CancelFunc
}

// task is one probe of a subject.
type task struct {
	*subject
	kind string // as the kubelet writes it: Startup, Readiness, Liveness
	spec *corev1.Probe
	at   time.Time
	// first is when the container has to be up. Before that, in the first period of
	// a probe without a delay, it is asked in growing intervals, so that it counts as
	// up when it is; that it is not yet is no failure. The kubelet's first probe
	// comes at some moment of that period.
	first time.Time
	// index in the heap, or negative: under way, waiting for its turn, or over.
	index int
	// Of the one under way: when it began, and the probe when it is a quick one, for the
	// Pod's address that it was prepared for.
	began    time.Time
	prepared *probe.Quick
	address  string
	last     probe.Result
	times    int // how often in a row last came
}

const (
	startupProbe   = "Startup"
	readinessProbe = "Readiness"
	livenessProbe  = "Liveness"
)

func newProber(run runFunc, changed func(string)) *prober {
	return &prober{
		run: run, changed: changed, wake: make(chan struct{}, 1), idle: make(chan func()), began: time.Now(),
		subjects: make(map[string]map[string]*subject), lanes: [2]lane{{free: execProbesMax}, {free: netProbesMax}},
	}
}

// serve makes probes until ctx ends. It sleeps as long as none is due.
func (p *prober) serve(ctx context.Context) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for ctx.Err() == nil {
		p.ask(ctx, p.launch(ctx, time.Now()))
		timer.Reset(p.pause())
		select {
		case <-p.wake:
		case <-timer.C:
		case <-ctx.Done():
		}
	}
}

// follow says which containers of a Pod run and have probes. The others' probes are
// given up.
func (p *prober) follow(ctx context.Context, uid string, running []*subject) {
	p.mu.Lock()
	defer p.mu.Unlock()
	before := p.subjects[uid]
	if len(running) == 0 && len(before) == 0 {
		return
	}
	now := make(map[string]*subject, len(running))
	for _, s := range running {
		if old := before[s.id]; old != nil {
			old.ending = s.ending
			s = old
		} else {
			p.add(ctx, s)
		}
		now[s.id] = s
	}
	for id, s := range before {
		if now[id] == nil {
			p.drop(s)
		}
	}
	p.subjects[uid] = now
	if len(now) == 0 {
		delete(p.subjects, uid)
	}
}

// results of a container's probes so far.
func (p *prober) results(uid, id string) plan.Probes {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s := p.subjects[uid][id]; s != nil {
		return s.results
	}
	return plan.Probes{}
}

func (p *prober) add(ctx context.Context, s *subject) {
	s.ctx, s.cancel = context.WithCancel(ctx)
	s.events, s.more = eventBurst, time.Now().Add(eventEvery)
	adopted := s.startedAt.Before(p.began)
	if adopted {
		s.results = s.known
	}
	specs := []struct {
		kind string
		spec *corev1.Probe
	}{{startupProbe, s.container.StartupProbe}, {readinessProbe, s.container.ReadinessProbe}, {livenessProbe, s.container.LivenessProbe}}
	for _, k := range specs {
		if k.spec == nil || k.kind == startupProbe && s.results.Startup == plan.ProbeSucceeded {
			continue
		}
		t := &task{subject: s, kind: k.kind, spec: k.spec, index: -1}
		t.begin(adopted)
		s.tasks = append(s.tasks, t)
		p.push(t)
	}
}

// begin decides when a task is due for the first time.
func (t *task) begin(adopted bool) {
	delay := time.Duration(t.spec.InitialDelaySeconds) * time.Second
	t.first = t.startedAt.Add(delay)
	if delay == 0 {
		t.first = t.startedAt.Add(t.period())
	}
	t.at = t.first
	if delay == 0 && t.kind != livenessProbe && t.spec.SuccessThreshold <= 1 {
		t.at = t.startedAt.Add(firstLook)
	}
	if now := time.Now(); adopted && t.at.Before(now) {
		// Many start over at the same time: spread them, as the kubelet does.
		t.at = now.Add(rand.N(t.period()))
		t.first = t.at
	}
}

func (t *task) period() time.Duration {
	return time.Duration(max(t.spec.PeriodSeconds, 1)) * time.Second
}

// due says whether it is time for a probe. The first, for which the container has its
// delay, is not made too early.
func (t *task) due(now time.Time) bool {
	if t.last != "" {
		now = now.Add(min(t.period()/slackPart, slackMax))
	}
	return !t.at.After(now)
}

func (t *task) early() bool { return t.at.Before(t.first) }

// paused says whether the probe is not to be made now.
func (t *task) paused() bool {
	starting := t.container.StartupProbe != nil && t.results.Startup != plan.ProbeSucceeded
	return t.ending && t.kind != readinessProbe || starting && t.kind != startupProbe
}

func (p *prober) drop(s *subject) {
	s.cancel()
	for _, t := range s.tasks {
		p.unschedule(t)
	}
}

func (p *prober) unschedule(t *task) {
	if t.index >= 0 {
		heap.Remove(&p.tasks, t.index)
	}
}

// push schedules a task; p.mu is held.
func (p *prober) push(t *task) {
	heap.Push(&p.tasks, t)
	if t.at.Before(p.next) {
		select {
		case p.wake <- struct{}{}:
		default:
		}
	}
}

// launch begins the probes that are due, but for those that it returns.
func (p *prober) launch(ctx context.Context, now time.Time) (asking []*task) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var due []*task
	for len(p.tasks) > 0 && p.tasks[0].due(now) {
		t := p.tasks[0]
		if t.paused() {
			for t.due(now) {
				t.at = t.at.Add(t.period())
			}
			heap.Fix(&p.tasks, 0)
			continue
		}
		heap.Pop(&p.tasks)
		due = append(due, t)
	}
	return p.enter(ctx, due)
}

// pause says how long to sleep.
func (p *prober) pause() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	p.next = now.Add(time.Hour)
	if len(p.tasks) > 0 {
		p.next = p.tasks[0].at
	}
	return p.next.Sub(now)
}

// done takes a probe's outcome, tells of it, and schedules the next one.
func (p *prober) done(t *task, outcome probe.Outcome, err error) {
	p.mu.Lock()
	if t.ctx.Err() != nil {
		p.mu.Unlock()
		return
	}
	quiet := t.paused() || t.early() && outcome.Result != probe.Success
	changed, over := false, false
	if !quiet && err == nil {
		changed, over = t.count(outcome)
	}
	if !over {
		t.reschedule(time.Now())
		p.push(t)
	}
	if t.kind == startupProbe && changed {
		p.startedUp(t.subject)
	}
	kind, reason, message := "", "", ""
	if !quiet {
		kind, reason, message = t.message(outcome, err)
	}
	announce := kind != "" && t.mayTell(time.Now())
	p.mu.Unlock()
	if announce {
		t.tell(kind, reason, message)
	}
	if changed {
		p.changed(t.uid)
	}
}

// count applies the thresholds. over: this container is not probed like this again.
func (t *task) count(outcome probe.Outcome) (changed, over bool) {
	result, threshold := plan.ProbeSucceeded, t.spec.SuccessThreshold
	if outcome.Result == probe.Failure {
		result, threshold = plan.ProbeFailed, t.spec.FailureThreshold
	} else {
		outcome.Result = probe.Success
	}
	if t.last != outcome.Result {
		t.last, t.times = outcome.Result, 0
	}
	t.times++
	if t.times < int(threshold) {
		return false, false
	}
	kept := &t.results.Readiness
	switch t.kind {
	case startupProbe:
		kept, over = &t.results.Startup, true
	case livenessProbe:
		kept, over = &t.results.Liveness, result == plan.ProbeFailed
	}
	changed = *kept != result
	*kept = result
	return changed, over
}

// reschedule finds the next time after a probe was made. A time that was missed
// because the probe took longer is made good at once, more are not.
func (t *task) reschedule(now time.Time) {
	if t.early() && t.last != probe.Success {
		t.at = t.at.Add(t.at.Sub(t.startedAt))
		if t.at.After(t.first) {
			t.at = t.first
		}
	} else {
		t.at = t.at.Add(t.period())
	}
	if t.at.Before(now) {
		t.at = now
	}
}

// startedUp asks at once for the readiness of a container that has just started up.
func (p *prober) startedUp(s *subject) {
	for _, t := range s.tasks {
		if t.kind == readinessProbe && t.index >= 0 {
			p.unschedule(t)
			t.at = s.startedAt.Add(time.Duration(t.spec.InitialDelaySeconds) * time.Second)
			if now := time.Now(); t.at.Before(now) {
				t.at = now
			}
			t.first = t.at
			p.push(t)
		}
	}
}

// message is what the Pod's owner is told, in the kubelet's words; none of a success.
func (t *task) message(outcome probe.Outcome, err error) (kind, reason, message string) {
	switch {
	case err != nil:
		state := cmp.Or(outcome.Result, "unknown")
		return corev1.EventTypeWarning, "Unhealthy", fmt.Sprintf("%s probe errored and resulted in %s state: %v", t.kind, state, err)
	case outcome.Result == probe.Warning:
		return corev1.EventTypeWarning, "ProbeWarning", t.kind + " probe warning: " + outcome.Output
	case outcome.Result == probe.Failure:
		return corev1.EventTypeWarning, "Unhealthy", t.kind + " probe failed: " + outcome.Output
	}
	return "", "", ""
}

// mayTell takes one of the events that the subject may make.
func (s *subject) mayTell(now time.Time) bool {
	for s.more.Before(now) {
		s.events, s.more = min(s.events+1, eventBurst), s.more.Add(eventEvery)
	}
	if s.events == 0 {
		return false
	}
	s.events--
	return true
}

// tasks is a heap of what is due, the next first.
type tasks []*task

func (h tasks) Len() int           { return len(h) }
func (h tasks) Less(i, j int) bool { return h[i].at.Before(h[j].at) }
func (h tasks) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

func (h *tasks) Push(x any) {
	t := x.(*task)
	t.index = len(*h)
	*h = append(*h, t)
}

func (h *tasks) Pop() any {
	old := *h
	t := old[len(old)-1]
	old[len(old)-1] = nil
	*h, t.index = old[:len(old)-1], -1
	return t
}
