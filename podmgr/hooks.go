// SPDX-License-Identifier: Apache-2.0

package podmgr

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/minikubelet/minikubelet/podmgr/plan"
	"github.com/minikubelet/minikubelet/podmgr/probe"
)

// hookLeeway is how long a preStop hook may go on after its time, while the
// container is being stopped, and any after its container's end; as a rule it ends
// with the container.
const hookLeeway = 10 * time.Second

// hooks is what became of a running container's lifecycle hooks.
type hooks struct{ postStart, preStop plan.Hook }

func (w *worker) hooksOf(id string) hooks {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.hooks[id]
}

func (w *worker) setHooks(id string, set func(h *hooks)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	h := w.hooks[id]
	set(&h)
	w.hooks[id] = h
}

// postStart runs a container's postStart hook. Its failure is the container's, not
// the step's: plan ends the container. When the container, the Pod or the agent ends
// meanwhile there is no outcome.
func (w *worker) postStart(ctx context.Context, pod *corev1.Pod, a plan.Action) error {
	c, _ := containerOf(pod, a.Container)
	if c == nil || c.Lifecycle == nil || c.Lifecycle.PostStart == nil {
		return nil // the plan is out of date; the next one is not
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	handler := c.Lifecycle.PostStart
	done := make(chan error, 1)
	go func() { done <- w.hook(ctx, pod, c, a.ID, handler, "PostStart") }()
	for {
		change := w.change()
		if !w.runs(a.ID) {
			awaitLast(ctx, handler, done)
			return nil
		}
		select {
		case err := <-done:
			if ctx.Err() != nil {
				return ctx.Err()
			}
			outcome := plan.Hook{Result: plan.ProbeSucceeded, EndedAt: time.Now()}
			if err != nil {
				outcome.Result = plan.ProbeFailed
				outcome.Message = probe.FailureMessage(handler, c.Name, fmt.Sprintf("%s_%s(%s)", pod.Name, pod.Namespace, pod.UID), err)
			}
			w.setHooks(a.ID, func(h *hooks) { h.postStart = outcome })
			return nil
		case <-change:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// preStop runs a container's preStop hook until the deadline, which sooner draws
// nearer. A hook that takes longer goes on while the container is stopped.
func (w *worker) preStop(ctx context.Context, pod *corev1.Pod, a plan.Action, sooner <-chan time.Time) error {
	deadline := a.Deadline
	c, _ := containerOf(pod, a.Container)
	if c == nil || c.Lifecycle == nil || c.Lifecycle.PreStop == nil || !w.runs(a.ID) {
		return nil
	}
	w.event(pod, a.Container, corev1.EventTypeNormal, "Killing", a.Message)
	hookCtx, cancel := context.WithDeadline(context.WithoutCancel(ctx), deadline.Add(hookLeeway))
	handler := c.Lifecycle.PreStop
	done := make(chan error, 1)
	go func() {
		defer cancel()
		done <- w.hook(hookCtx, pod, c, a.ID, handler, "PreStop")
	}()
	result := plan.ProbeFailed
	for over := false; !over; {
		change := w.change()
		if !w.runs(a.ID) {
			awaitLast(ctx, handler, done)
			cancel()
			return nil
		}
		timer := time.NewTimer(time.Until(deadline))
		select {
		case err := <-done:
			over = true
			if err == nil {
				result = plan.ProbeSucceeded
			}
		case <-timer.C:
			over = true
		case deadline = <-sooner:
		case <-change:
		case <-ctx.Done():
		}
		timer.Stop()
		if ctx.Err() != nil {
			cancel()
			return ctx.Err()
		}
	}
	w.setHooks(a.ID, func(h *hooks) { h.preStop = plan.Hook{Result: result, EndedAt: time.Now(), Deadline: deadline} })
	return nil
}

// awaitLast waits for the end of a hook whose container has ended: a command ends with
// it, and a request soon after. A sleep is not waited for.
func awaitLast(ctx context.Context, handler *corev1.LifecycleHandler, done <-chan error) {
	if handler.Sleep != nil {
		return
	}
	timer := time.NewTimer(hookLeeway)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
	case <-ctx.Done():
	}
}

// hook runs a handler to its end, and tells of its failure unless it was given up. Why it
// failed is logged, and not in the event: what a server or a command says may be secret.
func (w *worker) hook(ctx context.Context, pod *corev1.Pod, c *corev1.Container, id string, handler *corev1.LifecycleHandler, kind string) error {
	err := w.m.hooks.Run(ctx, handler, w.target(c, id), func(message string) {
		w.event(pod, "", corev1.EventTypeWarning, "LifecycleHTTPFallback", message)
	})
	if err != nil && ctx.Err() == nil {
		w.log.Warn("a lifecycle hook failed", "container", c.Name, "hook", kind, "err", err)
		w.event(pod, c.Name, corev1.EventTypeWarning, "Failed"+kind+"Hook", kind+"Hook failed")
	}
	return err
}
