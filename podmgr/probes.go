// SPDX-License-Identifier: Apache-2.0

package podmgr

import (
	"bytes"
	"context"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/minikubelet/minikubelet/podmgr/plan"
	"github.com/minikubelet/minikubelet/podmgr/probe"
	"github.com/minikubelet/minikubelet/runtime"
	"github.com/minikubelet/minikubelet/runtime/spec"
)

// followProbes tells the prober which containers run. Only run calls it.
func (w *worker) followProbes(ctx context.Context, pod *corev1.Pod, statuses []runtime.Status) {
	var running []*subject
	for c := range Containers(pod) {
		if c.StartupProbe == nil && c.ReadinessProbe == nil && c.LivenessProbe == nil {
			continue
		}
		for i := range statuses {
			if s := &statuses[i]; s.Name == c.Name && s.State == runtime.StateRunning && s.Kind != runtime.KindSandbox && w.setUp(c, s.ID) {
				running = append(running, w.subject(pod, c, s))
			}
		}
	}
	w.m.prober.follow(ctx, w.uid, running)
}

func (w *worker) subject(pod *corev1.Pod, c *corev1.Container, s *runtime.Status) *subject {
	id := s.ID
	var probed func(kind, result string, took time.Duration)
	if tell := w.m.cfg.OnProbe; tell != nil {
		probed = func(kind, result string, took time.Duration) {
			tell(Probed{UID: w.uid, Namespace: pod.Namespace, Pod: pod.Name, Container: c.Name, Kind: kind, Result: result, Took: took})
		}
	}
	return &subject{
		probed: probed,
		uid:    w.uid, id: id, container: c, startedAt: s.StartedAt, known: w.knownProbes(id),
		ending: pod.DeletionTimestamp != nil || w.stopping(c.Name),
		target: func() probe.Target { return w.probeTarget(c, id) },
		tell:   func(kind, reason, message string) { w.event(pod, c.Name, kind, reason, message) },
	}
}

// setUp says whether a running container's postStart hook is over: as long as it is
// not, the container does not count as running, and is not probed.
func (w *worker) setUp(c *corev1.Container, id string) bool {
	if c.Lifecycle == nil || c.Lifecycle.PostStart == nil || w.hooksOf(id).postStart.Result == plan.ProbeSucceeded {
		return true
	}
	return w.lastRunning(id) != nil
}

// lastRunning is what was last reported of a container, if that was as running.
func (w *worker) lastRunning(id string) *corev1.ContainerStatus {
	for _, list := range [][]corev1.ContainerStatus{w.last.InitContainerStatuses, w.last.ContainerStatuses} {
		for i := range list {
			if s := &list[i]; s.ContainerID == "containerd://"+id && s.State.Running != nil {
				return s
			}
		}
	}
	return nil
}

// knownProbes is what the last status says of a container: one that was up before
// the agent was replaced stays so until a probe says otherwise.
func (w *worker) knownProbes(id string) (known plan.Probes) {
	s := w.lastRunning(id)
	if s == nil {
		return known
	}
	if s.Started != nil && *s.Started {
		known.Startup = plan.ProbeSucceeded
	}
	if s.Ready {
		known.Readiness = plan.ProbeSucceeded
	}
	return known
}

// stopping says whether a container's end is under way.
func (w *worker) stopping(container string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.busy[plan.Action{Kind: plan.StopContainer, Container: container}.Key()]
	return s != nil && ends(s.action.Kind)
}

// probeTarget is a container as its probes see it. Commands may use $(VAR) of the
// variables whose values stand in the spec.
func (w *worker) probeTarget(c *corev1.Container, id string) probe.Target {
	target := w.target(c, id)
	run := target.Exec
	target.Exec = func(ctx context.Context, command []string, limit int) (probe.Execution, error) {
		expanded := make([]string, len(command))
		for i, word := range command {
			expanded[i] = spec.Expand(word, func(name string) (string, bool) { return staticVariable(c, name) })
		}
		return run(ctx, expanded, limit)
	}
	return target
}

// target is a container as its hooks see it.
func (w *worker) target(c *corev1.Container, id string) probe.Target {
	target := probe.Target{Ports: c.Ports}
	w.mu.Lock()
	pod, stage := w.pod, w.sandbox
	w.mu.Unlock()
	if stage != nil {
		target.IP = first(w.podIPs(pod, stage))
	}
	target.Exec = func(ctx context.Context, command []string, limit int) (probe.Execution, error) {
		stdout, stderr := &head{limit: limit}, &head{limit: limit}
		code, err := w.m.cfg.Runtime.Exec(ctx, id, runtime.ExecOptions{Cmd: command, Stdout: stdout, Stderr: stderr})
		return probe.Execution{ExitCode: code, Stdout: stdout.bytes(), Stderr: stderr.bytes()}, err
	}
	return target
}

func staticVariable(c *corev1.Container, name string) (value string, found bool) {
	for _, v := range c.Env {
		if v.Name == name && v.ValueFrom == nil {
			value, found = v.Value, true
		}
	}
	return value, found
}

// head keeps the first limit bytes of what is written to it, from any goroutine.
type head struct {
	limit int
	mu    sync.Mutex
	buf   bytes.Buffer
}

func (h *head) Write(data []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.buf.Write(data[:min(len(data), h.limit-h.buf.Len())])
	return len(data), nil
}

func (h *head) bytes() []byte {
	h.mu.Lock()
	defer h.mu.Unlock()
	return bytes.Clone(h.buf.Bytes())
}
