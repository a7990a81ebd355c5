// SPDX-License-Identifier: Apache-2.0

package podmgr

import (
	"context"
	"log/slog"
	"maps"
	"os"
	"strconv"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"

	"github.com/minikubelet/minikubelet/podmgr/plan"
	"github.com/minikubelet/minikubelet/podmgr/pressure"
)

// worker serves one Pod: observe, plan, act, report, sleep.
type worker struct {
	*NodeFacts
	m    *Manager
	uid  string
	log  *slog.Logger
	wake chan struct{}
	// status takes the newest status for the store.
	status *statusWriter

	mu      sync.Mutex
	pod     *corev1.Pod // with what is allocated; never changed, only replaced
	desired *corev1.Pod // as the store has it; the same but for resources
	pending *plan.PendingResize
	// waitsSince is when a pending resize was found to have no room; allocatedFor the
	// generation whose resources were allocated last, 0 if that was by another agent.
	waitsSince   time.Time
	allocatedFor int64
	hashes       map[string]string // of pod's containers
	refused      *plan.Refusal
	ended        *plan.End
	busy         map[string]*step
	failures     map[string]plan.Failure
	images       map[string]plan.Image
	imageNews    int             // how often ImagesChanged was told
	pulled       map[string]bool // containers for whose next start an image was pulled
	sandbox      *sandboxStage
	messages     map[string]string // termination messages by container ID
	hooks        map[string]hooks  // by container ID
	sources      sources
	changed      chan struct{} // closed and replaced at every wake-up
	gone         bool          // Finish is done
	hasVolumes   bool          // or may have
	reclaim      bool          // see plan.Input

	last corev1.PodStatus // only run touches it

	writing writing
	tokens  *podTokens // nil: nobody makes any
	// over is closed when the terminal phase is reported, or the worker ends.
	over     chan struct{}
	overOnce sync.Once
}

// step is an action under way, for those who know it by its key; worker.mu guards it.
type step struct {
	action plan.Action // with the earliest deadline that was asked for
	cancel context.CancelFunc
	// sooner has that deadline when it is not the first one.
	sooner chan time.Time
}

func newStep(action plan.Action, cancel context.CancelFunc) *step {
	return &step{action: action, cancel: cancel, sooner: make(chan time.Time, 1)}
}

func newWorker(m *Manager, pod *corev1.Pod) *worker {
	w := &worker{
		NodeFacts: &m.facts,

		m:        m,
		uid:      string(pod.UID),
		log:      m.cfg.Log.With("pod", pod.Namespace+"/"+pod.Name, "uid", pod.UID),
		wake:     make(chan struct{}, 1),
		pod:      allocated(pod),
		desired:  pod,
		busy:     make(map[string]*step),
		failures: make(map[string]plan.Failure),
		images:   make(map[string]plan.Image),
		pulled:   make(map[string]bool),
		messages: make(map[string]string),
		hooks:    make(map[string]hooks),
		changed:  make(chan struct{}),
		over:     make(chan struct{}),
		last:     *pod.Status.DeepCopy(),
		hashes:   containerHashes(pod),
	}
	_, err := os.Lstat(m.facts.podDir(pod))
	w.hasVolumes = err == nil
	w.sources.refs = referencesOf(pod)
	if m.cfg.Tokens != nil {
		w.tokens = newPodTokens(m.cfg.Tokens, func(volume string) { w.rewrite([]string{volume}) })
	}
	w.status = newStatusWriter(m.cfg.Store, pod, w.log)
	return w
}

// setPod takes a new version of the Pod from the store. Versions that differ in
// our own part of the status alone wake nobody.
func (w *worker) setPod(pod *corev1.Pod) {
	w.mu.Lock()
	old := w.desired
	if revision(pod) < revision(old) { // told late, see Manager.update
		w.mu.Unlock()
		return
	}
	w.desired, w.pod = pod, withResources(pod, w.pod)
	if sameResources(pod, w.pod) {
		w.pending = nil
	}
	if !equality.Semantic.DeepEqual(old.Spec, pod.Spec) {
		w.hashes = containerHashes(pod)
		w.sources.refs = referencesOf(pod)
	}
	relabelled := len(w.sources.refs.labels) > 0 && !sameLabels(old, pod)
	if relabelled {
		w.markStale(w.sources.refs.labels)
	}
	w.mu.Unlock()
	if relabelled || old.Generation != pod.Generation || !equality.Semantic.DeepEqual(old.DeletionTimestamp, pod.DeletionTimestamp) ||
		!equality.Semantic.DeepEqual(old.Spec, pod.Spec) ||
		!equality.Semantic.DeepEqual(foreignConditions(&old.Status), foreignConditions(&pod.Status)) {
		w.wakeUp()
	}
}

// revision is the store's of an object, 0 for one that was never in it.
func revision(pod *corev1.Pod) uint64 {
	n, _ := strconv.ParseUint(pod.ResourceVersion, 10, 64)
	return n
}

func sameLabels(a, b *corev1.Pod) bool {
	return maps.Equal(a.Labels, b.Labels) && maps.Equal(a.Annotations, b.Annotations)
}

// wakeUp makes the worker look again. It never blocks.
func (w *worker) wakeUp() {
	w.mu.Lock()
	close(w.changed)
	w.changed = make(chan struct{})
	w.mu.Unlock()
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// run works until the Pod is gone or ctx ends. missing is what the Pod, a critical one,
// needs others to make room for.
func (w *worker) run(ctx context.Context, missing []pressure.Shortage) {
	acting, stop := outliving(ctx, stopBound)
	defer stop()
	var steps sync.WaitGroup
	defer w.endOver()
	defer w.status.stop()
	defer steps.Wait()
	defer w.m.prober.follow(ctx, w.uid, nil)
	if w.tokens != nil {
		defer w.tokens.stop()
	}
	if len(missing) > 0 {
		w.makeRoom(ctx, missing)
	}
	w.adopt(ctx)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for ctx.Err() == nil {
		in := w.look(acting)
		decision := plan.Decide(in)
		w.report(in.Pod, decision)
		for _, action := range decision.Actions {
			w.start(ctx, acting, &steps, action)
		}
		w.refresh(acting, &steps)
		timer.Reset(untilNext(in.Now, decision.Next))
		select {
		case <-w.wake:
		case <-timer.C:
		case <-ctx.Done():
		}
		if w.isGone() {
			return
		}
	}
}

// clockLook is the longest time for which a time of day is waited for without a look at the
// clock: it may be set meanwhile, and timers stand still while the machine sleeps.
const clockLook = 10 * time.Minute

// untilNext is how long to sleep when nothing else happens.
func untilNext(now, next time.Time) time.Duration {
	if next.IsZero() {
		return time.Hour
	}
	return max(min(next.Sub(now), clockLook), time.Millisecond)
}

// outliving returns a context that ends a bounded time after parent, so that a
// step under way can be finished when the agent stops.
func outliving(parent context.Context, bound time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(parent))
	stop := context.AfterFunc(parent, func() { time.AfterFunc(bound, cancel) })
	return ctx, func() { stop(); cancel() }
}

func (w *worker) isGone() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.gone
}

// ends says whether an action is part of a container's stop.
func ends(k plan.Kind) bool { return k == plan.StopContainer || k == plan.PreStop }

// meet does what another action for the same thing means to a step under way: a
// stop takes the earlier of the two deadlines, and ends a postStart hook.
func (s *step) meet(action plan.Action) {
	switch {
	case !ends(action.Kind):
	case s.action.Kind == plan.PostStart:
		s.cancel()
	case ends(s.action.Kind) && action.Deadline.Before(s.action.Deadline):
		s.action.Deadline = action.Deadline
		select {
		case <-s.sooner: // not taken yet
		default:
		}
		s.sooner <- action.Deadline
	}
}

// start begins an action unless its key is busy.
func (w *worker) start(ctx, acting context.Context, steps *sync.WaitGroup, action plan.Action) {
	key := action.Key()
	w.mu.Lock()
	defer w.mu.Unlock()
	if under := w.busy[key]; under != nil {
		under.meet(action)
		return
	}
	base := acting
	if ends(action.Kind) || action.Kind == plan.PostStart || action.Kind == plan.PullImage {
		base = ctx // waits long and is safe to leave: end it with the agent
	}
	stepCtx, cancel := context.WithCancel(base)
	s := newStep(action, cancel)
	w.busy[key] = s
	pod, changes := w.pod, w.sources.changes
	var turn *ticket
	if action.Kind == plan.CreateContainer {
		turn = w.m.creates.enter() // here, so that the order is plan's
	}
	steps.Go(func() {
		defer cancel()
		began := time.Now()
		if turn != nil {
			defer turn.leave()
			if err := turn.wait(stepCtx); err != nil {
				w.finished(key, action, err, true, changes, 0)
				return
			}
		}
		err := w.do(stepCtx, pod, action, s.sooner)
		w.finished(key, action, err, stepCtx.Err() != nil, changes, time.Since(began))
	})
}

// finished records how a step ended and wakes the worker. changes is the count of the
// objects' changes when it began.
func (w *worker) finished(key string, action plan.Action, err error, canceled bool, changes uint64, took time.Duration) {
	w.mu.Lock()
	delete(w.busy, key)
	switch {
	case err == nil:
		if w.failures[key].Kind == action.Kind {
			delete(w.failures, key)
		}
	case !canceled:
		reason, message := reasonOf(action.Kind, err)
		count := 1
		if before := w.failures[key]; before.Kind == action.Kind {
			count += before.Count
		}
		w.failures[key] = plan.Failure{Kind: action.Kind, Reason: reason, Message: message, At: time.Now(), Count: count,
			Waits: isMissing(err) && changes == w.sources.changes}
	}
	w.mu.Unlock()
	switch {
	case err == nil:
		w.log.Debug(string(action.Kind), "container", action.Container, "attempt", action.Attempt, "took", took)
	case !canceled:
		w.log.Warn("cannot "+string(action.Kind), "container", action.Container, "err", err)
	}
	w.step(action, err, canceled && err != nil, took)
	w.wakeUp()
}

// do carries out one action. sooner may draw a stop's deadline nearer.
func (w *worker) do(ctx context.Context, pod *corev1.Pod, a plan.Action, sooner <-chan time.Time) error {
	switch a.Kind {
	case plan.CreateSandbox:
		return w.createSandbox(ctx, pod, a.Attempt)
	case plan.RemoveSandbox:
		return w.removeSandbox(ctx, pod, a)
	case plan.PullImage:
		return w.pullImage(ctx, pod, a)
	case plan.CreateContainer:
		return w.createContainer(ctx, pod, a)
	case plan.StartContainer:
		return w.startContainer(ctx, pod, a)
	case plan.PostStart:
		return w.postStart(ctx, pod, a)
	case plan.PreStop:
		return w.preStop(ctx, pod, a, sooner)
	case plan.StopContainer:
		return w.stopContainer(ctx, pod, a, sooner)
	case plan.Resize:
		return w.resize(ctx, pod)
	case plan.RemoveContainer:
		return w.removeContainer(ctx, pod, a)
	case plan.RemoveVolumes:
		return w.removeVolumes(ctx, pod)
	case plan.Finish:
		return w.finish(ctx, pod)
	}
	panic("unknown kind of action: " + string(a.Kind)) // a new kind in plan without its deed here
}

// report hands the decision's status to the store and its events to the recorder.
func (w *worker) report(pod *corev1.Pod, d plan.Decision) {
	for _, e := range d.Events {
		w.event(pod, e.Container, e.Type, e.Reason, e.Message)
	}
	if !equality.Semantic.DeepEqual(w.last, d.Status) {
		w.last = d.Status
		w.status.set(d.Status)
		if w.m.cfg.OnStatus != nil {
			w.m.cfg.OnStatus(pod, d.Status.DeepCopy())
		}
	}
	if done := d.Status.Phase == corev1.PodSucceeded || d.Status.Phase == corev1.PodFailed; done {
		w.release()
		w.endOver()
	}
}

func (w *worker) endOver() { w.overOnce.Do(func() { close(w.over) }) }
