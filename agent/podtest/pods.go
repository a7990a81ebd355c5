// SPDX-License-Identifier: Apache-2.0

package podtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/minikubelet/minikubelet/api"
	"github.com/minikubelet/minikubelet/podmgr"
	"github.com/minikubelet/minikubelet/podmgr/plan"
	"github.com/minikubelet/minikubelet/runtime"
	"github.com/minikubelet/minikubelet/store"
)

// Apply gives the node the objects of a manifest (YAML or JSON, several documents if
// wanted) and returns the Pods among them, as they are in the node's store. A faulty
// manifest is an error that names all its faults, and nothing of it is taken. Other
// objects than Pods, and warnings, are taken as `minikubelet run` takes them.
func (n *Node) Apply(manifest string) ([]*corev1.Pod, error) {
	m := api.Load("manifest", strings.NewReader(manifest), n.agent.NodeName())
	var errs []error
	for _, p := range m.Problems {
		errs = append(errs, p)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return n.agent.Add(m.Objects)
}

// Create gives the node a Pod, after Kubernetes' defaults and validation.
func (n *Node) Create(pod *corev1.Pod) (*corev1.Pod, error) {
	pod = pod.DeepCopy()
	if pod.Namespace == "" {
		pod.Namespace = corev1.NamespaceDefault
	}
	api.Default(pod)
	if err := api.Validate(pod).ToAggregate(); err != nil {
		return nil, fmt.Errorf("pod %s/%s: %w", pod.Namespace, pod.Name, err)
	}
	return n.agent.AddPod(pod)
}

// Condition says of a Pod, which it must not change, whether it is as waited for.
type Condition func(*corev1.Pod) bool

// What is waited for most.
var (
	Running   Condition = func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodRunning }
	Succeeded Condition = func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodSucceeded }
	Failed    Condition = func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodFailed }
	Ready     Condition = func(p *corev1.Pod) bool {
		for _, c := range p.Status.Conditions {
			if c.Type == corev1.PodReady {
				return c.Status == corev1.ConditionTrue
			}
		}
		return false
	}
)

// Get is the Pod as it is now; an error of apierrors.IsNotFound when it is gone or
// another one has its name.
func (n *Node) Get(pod *corev1.Pod) (*corev1.Pod, error) {
	now := new(corev1.Pod)
	if err := n.agent.Store().Get(podmgr.Pods, pod.Namespace, pod.Name, now); err != nil {
		return nil, err
	}
	if now.UID != pod.UID {
		return nil, apierrors.NewNotFound(corev1.Resource(podmgr.Pods), pod.Name)
	}
	return now, nil
}

// Await waits until a Pod is as wanted, without polling, and returns it. When the
// Pod ends otherwise, is gone, or ctx ends, the error tells its status and events.
func (n *Node) Await(ctx context.Context, pod *corev1.Pod, want Condition) (*corev1.Pod, error) {
	s := n.agent.Store()
	watch := s.Watch(podmgr.Pods, s.Revision())
	defer watch.Close()
	now, err := n.Get(pod)
	for {
		switch {
		case err != nil:
			return nil, fmt.Errorf("pod %s/%s: %w%s", pod.Namespace, pod.Name, err, n.story(pod))
		case want(now):
			return now, nil
		case now.Status.Phase == corev1.PodSucceeded || now.Status.Phase == corev1.PodFailed:
			return nil, fmt.Errorf("pod %s/%s has ended and is not as awaited%s", pod.Namespace, pod.Name, n.story(pod))
		}
		now, err = next(ctx, watch, pod)
	}
}

// next is the Pod's next version.
func next(ctx context.Context, watch *store.Watcher, pod *corev1.Pod) (*corev1.Pod, error) {
	for {
		e, err := watch.Next(ctx)
		if err != nil {
			return nil, err
		}
		if now := e.Object.(*corev1.Pod); now.UID == pod.UID {
			if e.Type == store.Deleted {
				return nil, errors.New("deleted")
			}
			return now, nil
		}
	}
}

// story is what is known of a Pod, for whoever has to find out what went wrong.
func (n *Node) story(pod *corev1.Pod) string {
	var b strings.Builder
	if now, err := n.Get(pod); err == nil {
		status, ready, total, restarts := plan.Summary(now)
		fmt.Fprintf(&b, "\nstatus %s, ready %d/%d, restarts %d %s", status, ready, total, restarts, now.Status.Message)
	}
	for _, e := range n.Events(pod) {
		fmt.Fprintf(&b, "\n%s %s: %s", e.Type, e.Reason, e.Message)
	}
	return b.String()
}

// Events are all that were told of the Pod so far, in their order; they stay known when
// the Pod is gone. Unlike in the store, the same event told again is a further one.
func (n *Node) Events(pod *corev1.Pod) []corev1.Event {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.events[pod.UID])
}

// pods are those that the node has now.
func (n *Node) pods() (pods []*corev1.Pod, err error) {
	_, err = n.agent.Store().List(podmgr.Pods, "", func(data store.Data) error {
		pod := new(corev1.Pod)
		pods = append(pods, pod)
		return data.Into(pod)
	})
	return pods, err
}

// Log is what a container's newest attempt has written, both streams in their order.
func (n *Node) Log(ctx context.Context, pod *corev1.Pod, container string) (string, error) {
	now, err := n.Get(pod)
	if err != nil {
		return "", err
	}
	var out bytes.Buffer
	err = n.agent.ReadLog(ctx, now, &corev1.PodLogOptions{Container: container}, &out)
	return out.String(), err
}

// Output is what a command has left.
type Output struct {
	Stdout, Stderr string
	// ExitCode is 128 and the signal's number when a signal ended it.
	ExitCode int
}

// Exec runs a command in a container of the Pod that runs. That the command fails is
// no error.
func (n *Node) Exec(ctx context.Context, pod *corev1.Pod, container string, command ...string) (Output, error) {
	for _, s := range n.agent.Runtime().Pod(string(pod.UID)) {
		if s.Name != container || s.Kind == runtime.KindSandbox || s.State != runtime.StateRunning {
			continue
		}
		var stdout, stderr bytes.Buffer
		code, err := n.agent.Runtime().Exec(ctx, s.ID, runtime.ExecOptions{Cmd: command, Stdout: &stdout, Stderr: &stderr})
		return Output{stdout.String(), stderr.String(), code}, err
	}
	return Output{}, fmt.Errorf("pod %s/%s: no container %q runs%s", pod.Namespace, pod.Name, container, n.story(pod))
}

// Delete ends a Pod within a grace period in seconds, its own if nil, and waits until
// nothing of it is left. That it is gone already is no error.
func (n *Node) Delete(ctx context.Context, pod *corev1.Pod, seconds *int64) error {
	s := n.agent.Store()
	watch := s.Watch(podmgr.Pods, s.Revision())
	defer watch.Close()
	if _, err := n.Get(pod); err != nil {
		if apierrors.IsNotFound(err) {
			return nil
		}
		return err
	}
	if err := podmgr.RequestDeletion(s, pod.Namespace, pod.Name, seconds); err != nil {
		return err
	}
	for {
		e, err := watch.Next(ctx)
		if err != nil {
			return fmt.Errorf("pod %s/%s has not ended: %w%s", pod.Namespace, pod.Name, err, n.story(pod))
		}
		if e.Type == store.Deleted && e.Object.GetUID() == pod.UID {
			return nil
		}
	}
}
