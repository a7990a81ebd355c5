// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"github.com/minikubelet/minikubelet/api"
	"github.com/minikubelet/minikubelet/podmgr"
	"github.com/minikubelet/minikubelet/runtime"
	"github.com/minikubelet/minikubelet/runtime/image"
)

// RunOptions say how Run shows and ends its Pods.
type RunOptions struct {
	Pods    []*corev1.Pod // defaulted and validated
	Console *Console
	// Objects are what the Pods use, defaulted and validated: no Pods.
	Objects []api.Object
	// Archives are image archives to import first.
	Archives []string
	// Interrupt asks for the end of the Pods; a second one shortens their grace
	// periods to nothing.
	Interrupt <-chan struct{}
}

// Run runs Pods in the foreground and removes everything at their end. It
// returns 0 when all succeeded, else the exit status of the first container that
// failed, 1 for a Pod that failed without one, 130 after an interrupt. When an agent
// holds the data directory, the Pods are that agent's, and Run follows them over its
// socket.
func Run(ctx context.Context, cfg Config, o RunOptions, log *slog.Logger) (status int, err error) {
	if err := cfg.complete(); err != nil {
		return 1, err
	}
	o.Console.begin()
	noteStaying(o.Objects, o.Console)
	a, client, err := orBeside(ctx, &cfg, func() (*Agent, error) { return Open(ctx, cfg, o.Console.hooks(), log) })
	switch {
	case err != nil:
		return 1, err
	case client != nil:
		return runBeside(ctx, cfg, client, o)
	}
	defer func() { err = errors.Join(err, a.Close()) }()
	if err := a.forgetRuns(); err != nil {
		return 1, err
	}
	for _, path := range o.Archives {
		if err := a.importArchive(ctx, path, o.Console); err != nil {
			return 1, err
		}
	}
	if err := addRunObjects(a.store, o.Objects); err != nil {
		return 1, errors.Join(err, removeRunObjects(a.store))
	}
	status, err = a.runPods(ctx, o)
	return status, errors.Join(err, removeRunObjects(a.store), a.settleClaims(context.WithoutCancel(ctx)))
}

func (a *Agent) importArchive(ctx context.Context, path string, c *Console) error {
	opts := image.ImportOptions{Progress: c.importing(path)}
	list, err := a.images.ImportFile(ctx, path, opts)
	for _, img := range list {
		c.note("image " + img.Name + " imported")
	}
	return err
}

// foreground is one run under way.
type foreground struct {
	agent   *Agent
	pods    map[string]*corev1.Pod // by namespace/name
	changes chan struct{}
	ending  bool
	hurried bool
	code    int
}

func (a *Agent) runPods(ctx context.Context, o RunOptions) (int, error) {
	f := &foreground{agent: a, pods: make(map[string]*corev1.Pod), changes: make(chan struct{}, 1)}
	o.Console.attach(ownNode{a})
	watch := a.store.Watch(podmgr.Pods, a.store.Revision())
	defer watch.Close()
	for _, pod := range o.Pods {
		if err := f.add(pod, o.Console); err != nil {
			return 1, errors.Join(err, f.removeAdded())
		}
	}
	mctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	managed := make(chan error, 1)
	go func() { managed <- a.Run(mctx) }()
	go func() {
		for {
			if _, err := watch.Next(mctx); err != nil {
				return
			}
			f.kick()
		}
	}()
	canceled := ctx.Done()
	for {
		left, err := f.look(o.Console)
		if err != nil || left == 0 {
			stop()
			err = errors.Join(err, <-managed)
			if err == nil {
				err = a.Leave(context.WithoutCancel(ctx))
			}
			o.Console.finish()
			return f.code, err
		}
		select {
		case <-f.changes:
		case <-o.Interrupt:
			err = f.interrupt(o.Console)
		case <-canceled:
			canceled = nil
			err = f.interrupt(o.Console)
		case err := <-managed:
			return 1, errors.Join(errors.New("the Pod manager stopped"), err)
		}
		if err != nil {
			return 1, err
		}
	}
}

func (f *foreground) add(pod *corev1.Pod, c *Console) error {
	pod, err := f.agent.newPod(pod)
	if err != nil {
		return err
	}
	if pod.Annotations == nil {
		pod.Annotations = make(map[string]string)
	}
	pod.Annotations[annotationRun] = pod.CreationTimestamp.UTC().Format(time.RFC3339)
	c.add(pod)
	if err := f.agent.store.Create(podmgr.Pods, pod); err != nil {
		return fmt.Errorf("pod %s/%s: %w", pod.Namespace, pod.Name, err)
	}
	f.pods[pod.Namespace+"/"+pod.Name] = pod
	return nil
}

func (f *foreground) removeAdded() error {
	var errs []error
	for _, pod := range f.pods {
		pod.ResourceVersion = ""
		errs = append(errs, f.agent.store.Delete(podmgr.Pods, pod))
	}
	return errors.Join(errs...)
}

// look asks for the end of Pods that are done and counts those that are there.
func (f *foreground) look(c *Console) (left int, err error) {
	err = f.agent.each(func(pod *corev1.Pod) error {
		if mine := f.pods[pod.Namespace+"/"+pod.Name]; mine == nil || mine.UID != pod.UID {
			return nil
		}
		left++
		phase := pod.Status.Phase
		if pod.DeletionTimestamp != nil || (phase != corev1.PodSucceeded && phase != corev1.PodFailed) {
			return nil
		}
		if phase == corev1.PodFailed && f.code == 0 {
			f.code = exitCode(&pod.Status)
		}
		if !f.agent.released(pod) {
			time.AfterFunc(releasePoll, f.kick)
			return nil
		}
		c.drain(pod)
		return podmgr.RequestDeletion(f.agent.store, pod.Namespace, pod.Name, ptr.To[int64](0))
	})
	return left, err
}

// kick makes the run look again.
func (f *foreground) kick() {
	select {
	case f.changes <- struct{}{}:
	default:
	}
}

// releasePoll is how often a run looks whether the logs of ended containers are
// complete: some milliseconds after their end, with no event of its own.
const releasePoll = 5 * time.Millisecond

// released tells whether all output of an ended Pod is in its logs.
func (a *Agent) released(pod *corev1.Pod) bool {
	for _, s := range a.runtime.Pod(string(pod.UID)) {
		if s.Kind != runtime.KindSandbox && s.State == runtime.StateExited && !s.Released {
			return false
		}
	}
	return true
}

// exitCode is that of the container that failed first.
func exitCode(s *corev1.PodStatus) int {
	code, first := 1, time.Time{}
	for _, list := range [][]corev1.ContainerStatus{s.InitContainerStatuses, s.ContainerStatuses} {
		for _, c := range list {
			t := c.State.Terminated
			if t == nil || t.ExitCode == 0 || (!first.IsZero() && !t.FinishedAt.Time.Before(first)) {
				continue
			}
			code, first = int(t.ExitCode), t.FinishedAt.Time
		}
	}
	return code
}

// interrupt asks for the end of all Pods, the second time at once.
func (f *foreground) interrupt(c *Console) error {
	var seconds *int64
	switch {
	case f.hurried:
		return nil
	case f.ending:
		f.hurried = true
		seconds = ptr.To[int64](0)
		c.note("killing")
	default:
		f.ending = true
		f.code = interrupted
		c.note("stopping; interrupt again to kill")
	}
	var errs []error
	for _, pod := range f.pods {
		errs = append(errs, podmgr.RequestDeletion(f.agent.store, pod.Namespace, pod.Name, seconds))
	}
	return errors.Join(errs...)
}

// interrupted is the shell's status for a program that SIGINT ended.
const interrupted = 130
