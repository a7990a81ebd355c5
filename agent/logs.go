// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/minikubelet/minikubelet/podmgr"
	"github.com/minikubelet/minikubelet/podmgr/plan"
	"github.com/minikubelet/minikubelet/runtime"
	"github.com/minikubelet/minikubelet/runtime/crilog"
)

// logs reads containers' logs for the API, from the files.
type logs struct{ agent *Agent }

// ReadLog is apiserver.LogReader's.
func (l logs) ReadLog(ctx context.Context, pod *corev1.Pod, o *corev1.PodLogOptions, w io.Writer) error {
	status := containerStatus(pod, o.Container)
	back, err := attemptsBack(pod, o, status)
	if err != nil {
		return err
	}
	dir := filepath.Join(podmgr.LogDir(l.agent.cfg.LogDir, pod), o.Container)
	attempts, err := attemptsIn(dir)
	if err != nil {
		return err
	}
	if len(attempts) <= back {
		if o.Previous {
			return noPrevious(pod, o)
		}
		return nil // a container that has started and has no log yet, or none any more
	}
	path := filepath.Join(dir, strconv.Itoa(attempts[len(attempts)-1-back])+".log")
	opts := crilog.Options{Tail: o.TailLines, Follow: o.Follow && back == 0 && status.State.Running != nil}
	switch {
	case o.SinceTime != nil:
		opts.Since = o.SinceTime.Time
	case o.SinceSeconds != nil:
		opts.Since = time.Now().Add(-plan.Seconds(*o.SinceSeconds))
	}
	if o.Stream != nil {
		opts.Stream = crilog.Stream(strings.ToLower(*o.Stream))
	}
	if opts.Follow {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		opts.Done = l.ended(ctx, pod, o.Container, status.ContainerID)
	}
	err = crilog.Copy(ctx, path, opts, crilog.Format{Timestamps: o.Timestamps, LimitBytes: o.LimitBytes}, w, w)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// attemptsBack is how many attempts before the newest one is meant: that which is
// waited for counts as none.
func attemptsBack(pod *corev1.Pod, o *corev1.PodLogOptions, status *corev1.ContainerStatus) (int, error) {
	switch {
	case status == nil:
		return 0, apierrors.NewBadRequest(fmt.Sprintf("container %q in pod %q is not available", o.Container, pod.Name))
	case o.Previous && status.LastTerminationState.Terminated == nil:
		return 0, noPrevious(pod, o)
	case status.State.Waiting != nil && status.LastTerminationState.Terminated == nil:
		reason := status.State.Waiting.Reason
		return 0, apierrors.NewBadRequest(fmt.Sprintf("container %q in pod %q is waiting to start: %s", o.Container, pod.Name, reason))
	case o.Previous && status.State.Waiting == nil:
		return 1, nil
	}
	return 0, nil
}

func noPrevious(pod *corev1.Pod, o *corev1.PodLogOptions) error {
	return apierrors.NewBadRequest(fmt.Sprintf("previous terminated container %q in pod %q not found", o.Container, pod.Name))
}

func containerStatus(pod *corev1.Pod, name string) *corev1.ContainerStatus {
	for _, list := range [][]corev1.ContainerStatus{pod.Status.ContainerStatuses, pod.Status.InitContainerStatuses, pod.Status.EphemeralContainerStatuses} {
		for i := range list {
			if list[i].Name == name {
				return &list[i]
			}
		}
	}
	return nil
}

// attemptsIn are the attempts that have logs, oldest first.
func attemptsIn(dir string) ([]int, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var out []int
	for _, e := range entries {
		name, isLog := strings.CutSuffix(e.Name(), ".log")
		if n, err := strconv.Atoi(name); isLog && err == nil {
			out = append(out, n)
		}
	}
	slices.Sort(out)
	return out, nil
}

// ended is closed when the container with the ID runs no more and all its output is
// in its log.
func (l logs) ended(ctx context.Context, pod *corev1.Pod, container, id string) <-chan struct{} {
	done := make(chan struct{})
	runs := func(p *corev1.Pod) bool {
		s := containerStatus(p, container)
		return p.UID == pod.UID && s != nil && s.ContainerID == id && s.State.Running != nil
	}
	w := l.agent.store.Watch(podmgr.Pods, l.agent.store.Revision())
	go func() {
		defer close(done)
		defer l.agent.awaitRelease(ctx, id)
		defer w.Close()
		var now corev1.Pod
		if err := l.agent.store.Get(podmgr.Pods, pod.Namespace, pod.Name, &now); err != nil || !runs(&now) {
			return
		}
		for {
			e, err := w.Next(ctx)
			if err != nil {
				return
			}
			if p := e.Object.(*corev1.Pod); p.Namespace == pod.Namespace && p.Name == pod.Name && (!runs(p) || string(e.Type) == "DELETED") {
				return
			}
		}
	}()
	return done
}

// awaitRelease waits until an ended container's log is complete; that has no event of
// its own.
func (a *Agent) awaitRelease(ctx context.Context, id string) {
	_, id, _ = strings.Cut(id, "://")
	for {
		s, err := a.runtime.Status(id)
		if err != nil || s.State != runtime.StateExited || s.Released {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(releasePoll):
		}
	}
}
