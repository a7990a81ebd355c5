// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/utils/ptr"

	"github.com/minikubelet/minikubelet/agent/socket"
)

const (
	// awayMax is how long the agent may be away, for a restart or an upgrade.
	awayMax = 2 * time.Minute
	// awayAgain is how long a request waits before it is tried again.
	awayAgain = 200 * time.Millisecond
)

// besideRun is a run whose Pods are a running agent's. All its fields belong to the
// goroutine of run; others send it what to do.
type besideRun struct {
	client  *socket.Client
	console *Console
	made    *besideObjects
	ctx     context.Context // of all requests and followers; ends with the run
	do      chan func()

	pods            map[types.UID]*besidePod
	shown           map[string]int32 // event -> how often it was told
	away            <-chan time.Time // when to give up; nil while the agent answers
	ending, hurried bool
	code            int
	err             error // why it cannot go on
}

// besidePod is one Pod of the run.
type besidePod struct {
	pod            *corev1.Pod
	finished, gone bool
}

// runBeside is Run by an agent that runs already.
func runBeside(ctx context.Context, cfg Config, client *socket.Client, o RunOptions) (status int, err error) {
	defer func() { err = errors.Join(err, client.Close()) }()
	asked := ctx
	ctx, stop := context.WithCancel(context.WithoutCancel(asked))
	defer stop()
	if _, err := client.Facts(ctx, "none"); err != nil { // what it cannot show, it had better not run
		return 1, err
	}
	images := socket.Images{Client: client}
	for _, path := range o.Archives {
		list, err := images.Import(asked, path, "", o.Console.importing(path))
		for _, img := range list {
			o.Console.note("image " + img.Name + " imported")
		}
		if err != nil {
			return 1, err
		}
	}
	r := &besideRun{
		client: client, console: o.Console, made: newBesideObjects(client), ctx: ctx, do: make(chan func()),
		pods: make(map[types.UID]*besidePod), shown: make(map[string]int32),
	}
	o.Console.attach(besideNode{client, ctx})
	if err := r.start(cfg.NodeName, o); err != nil {
		return 1, errors.Join(err, r.made.remove(ctx))
	}
	r.follow(asked.Done(), o.Interrupt)
	if r.err != nil {
		return 1, r.err
	}
	if err := r.made.remove(ctx); err != nil {
		return 1, err
	}
	o.Console.finish()
	return r.code, nil
}

// start makes the objects and Pods, whose changes it follows from before on.
func (r *besideRun) start(nodeName string, o RunOptions) error {
	_, podsFrom, err := socket.List[corev1.Pod](r.ctx, r.client, "pods", "none")
	if err != nil {
		return err
	}
	_, eventsFrom, err := socket.List[corev1.Event](r.ctx, r.client, "events", "none")
	if err != nil {
		return err
	}
	pods, err := r.made.create(r.ctx, nodeName, o, r.console)
	if err != nil {
		return err
	}
	for _, pod := range pods {
		r.pods[pod.UID] = &besidePod{pod: pod}
		r.console.add(pod)
	}
	go socket.Follow(r.ctx, r.client, "pods", podsFrom, socket.Follower[corev1.Pod]{
		Changed: func(kind watch.EventType, p *corev1.Pod) { r.send(func() { r.changed(p, kind == watch.Deleted) }) },
		Listed:  func(all []corev1.Pod) { r.send(func() { r.listed(all) }) },
		Lost:    func(err error) { r.send(func() { r.lost(err) }) },
	})
	go socket.Follow(r.ctx, r.client, "events", eventsFrom, socket.Follower[corev1.Event]{
		Changed: func(kind watch.EventType, e *corev1.Event) { r.send(func() { r.event(e, kind == watch.Deleted) }) },
		Listed: func(all []corev1.Event) {
			r.send(func() {
				for i := range all {
					r.event(&all[i], false)
				}
			})
		},
		Lost: func(error) {}, // the Pods' follower says it
	})
	return nil
}

// send has the run's goroutine do something; not after its end.
func (r *besideRun) send(f func()) {
	select {
	case r.do <- f:
	case <-r.ctx.Done():
	}
}

// follow returns when all Pods are gone, or when the run cannot go on.
func (r *besideRun) follow(canceled, interrupt <-chan struct{}) {
	for r.err == nil && r.left() > 0 {
		select {
		case f := <-r.do:
			f()
		case <-interrupt:
			r.interrupt()
		case <-canceled:
			canceled = nil
			r.interrupt()
		case <-r.away:
			r.err = fmt.Errorf("the agent has not come back within %v; %s", awayMax, r.made.rest())
		}
	}
}

func (r *besideRun) left() int {
	n := 0
	for _, p := range r.pods {
		if !p.gone {
			n++
		}
	}
	return n
}

// changed takes a new state of a Pod, the last one when it is deleted.
func (r *besideRun) changed(pod *corev1.Pod, deleted bool) {
	p := r.pods[pod.UID]
	if p == nil || p.gone {
		return
	}
	r.console.status(p.pod, &pod.Status)
	phase := pod.Status.Phase
	if over := phase == corev1.PodSucceeded || phase == corev1.PodFailed; over && !p.finished && pod.DeletionTimestamp == nil {
		p.finished = true
		if phase == corev1.PodFailed && r.code == 0 {
			r.code = exitCode(&pod.Status)
		}
		go func() {
			r.console.drain(p.pod)
			r.end(p, ptr.To[int64](0))
		}()
	}
	if deleted {
		r.vanished(p)
	}
}

// vanished takes a Pod for gone; one that somebody else has removed has failed.
func (r *besideRun) vanished(p *besidePod) {
	p.gone = true
	r.made.forget(p.pod)
	if !p.finished && !r.ending {
		r.console.note(fmt.Sprintf("Pod %s/%s was deleted by somebody else", p.pod.Namespace, p.pod.Name))
		if r.code == 0 {
			r.code = 1
		}
	}
}

// listed takes all Pods that there are, after the agent was away.
func (r *besideRun) listed(all []corev1.Pod) {
	if r.away != nil {
		r.away = nil
		r.console.note("the agent is back")
	}
	there := make(map[types.UID]bool)
	for i := range all {
		there[all[i].UID] = true
		r.changed(&all[i], false)
	}
	for uid, p := range r.pods {
		if !there[uid] && !p.gone {
			r.vanished(p)
		}
	}
}

func (r *besideRun) lost(err error) {
	if r.away == nil {
		r.away = time.After(awayMax)
		r.console.note(fmt.Sprintf("the agent does not answer (%v); waiting for it up to %v", err, awayMax))
	}
}

// event shows an event that is new, or was told once more.
func (r *besideRun) event(e *corev1.Event, deleted bool) {
	p, key := r.pods[e.InvolvedObject.UID], e.Namespace+"/"+e.Name
	if p == nil || deleted || e.Count <= r.shown[key] {
		return
	}
	r.shown[key] = e.Count
	_, container, _ := strings.Cut(strings.TrimSuffix(e.InvolvedObject.FieldPath, "}"), "{")
	r.console.event(p.pod, container, e)
}

// interrupt asks for the end of all Pods, the second time at once. While the agent is
// away, the second one ends the run alone.
func (r *besideRun) interrupt() {
	var seconds *int64
	switch {
	case r.ending && r.away != nil:
		r.err = fmt.Errorf("the agent does not answer; %s", r.made.rest())
		return
	case r.hurried:
		return
	case r.ending:
		r.hurried = true
		seconds = ptr.To[int64](0)
		r.console.note("killing")
	default:
		r.ending = true
		r.code = interrupted
		if r.away != nil {
			r.console.note("stopping as soon as the agent is back; interrupt again to leave the Pods as they are")
		} else {
			r.console.note("stopping; interrupt again to kill")
		}
	}
	for _, p := range r.pods {
		go r.end(p, seconds)
	}
}

// end asks for a Pod's end until the agent has heard it.
func (r *besideRun) end(p *besidePod, seconds *int64) {
	err := untilHeard(r.ctx, func() error {
		return r.client.Delete(r.ctx, "pods", p.pod.Namespace, p.pod.Name, metav1.DeleteOptions{
			GracePeriodSeconds: seconds, Preconditions: &metav1.Preconditions{UID: &p.pod.UID},
		})
	})
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) && r.ctx.Err() == nil {
		r.send(func() {
			r.err = fmt.Errorf("cannot end pod %s/%s: %w; %s", p.pod.Namespace, p.pod.Name, err, r.made.rest())
		})
	}
}

// untilHeard tries until the agent has answered, or ctx has ended.
func untilHeard(ctx context.Context, try func() error) error {
	for {
		err := try()
		if err == nil || ctx.Err() != nil || socket.Refused(err) && !apierrors.IsTooManyRequests(err) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(awayAgain):
		}
	}
}
