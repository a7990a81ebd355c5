// SPDX-License-Identifier: Apache-2.0

package runtime

import (
	"context"
	"fmt"
	"syscall"
	"time"

	"github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/errdefs/pkg/errgrpc"
)

// recordTime bounds the writing of what nobody waits for.
const recordTime = 10 * time.Second

// startErrorCode is the exit code of a container that could not be started, as Kubernetes' container runtimes report it.
const startErrorCode = 128

// Start starts a container that is StateCreated. When that fails, the container is StateExited with exit code 128, no start time and
// the error as its message, and the error is given back too. The context is heeded until the OCI runtime is called.
func (r *Runtime) Start(ctx context.Context, id string) error {
	ctx = r.namespaced(ctx)
	e := r.entry(id)
	if e == nil {
		return fmt.Errorf("start container %s: %w", id, ErrNotFound)
	}
	if err := e.lock(ctx); err != nil {
		return err
	}
	defer e.unlock()
	r.mu.Lock()
	s, err := e.status, e.refused
	r.mu.Unlock()
	if s.State != StateCreated {
		return fmt.Errorf("start container %s (%s), which is %s: %w", s.Name, id, s.State, ErrState)
	}
	var started *tasks.StartResponse
	if err == nil {
		uninterrupted, cancel := context.WithTimeout(context.WithoutCancel(ctx), taskTime)
		started, err = r.client.TaskService().Start(uninterrupted, &tasks.StartRequest{ContainerID: id})
		cancel()
		err = errgrpc.ToNative(err)
	}
	now := time.Now()
	if err != nil {
		r.ended(e, func(s *Status) { s.ExitCode, s.FinishedAt, s.Message = startErrorCode, now, shorten(err.Error()) })
		return &ContainerError{"start", s.Name, id, err}
	}
	s = r.change(e, func(s *Status) {
		if s.PID = int(started.Pid); s.State == StateCreated {
			s.State, s.StartedAt = StateRunning, now
			return
		}
		// It has ended already, and the exit was seen first.
		s.PID = 0
		if s.StartedAt = now; s.FinishedAt.Before(now) {
			s.StartedAt = s.FinishedAt
		}
	})
	r.recordStart(s)
	return nil
}

// recordStart makes the start time durable some time soon. Should the agent die before, the process' own start time stands in for it,
// or the time of creation when the container has ended by then.
func (r *Runtime) recordStart(s Status) {
	r.writeLater(startKey(s.ID), func(ctx context.Context) {
		_, err := r.client.ContainerService().Update(ctx, containers.Container{
			ID: s.ID, Labels: map[string]string{labelStartedAt: formatTime(s.StartedAt)},
		}, "labels."+labelStartedAt)
		if !gone(err) {
			r.log.Warn("the start time of a container is not on record", "container", s.ID, "error", err)
		}
	})
}

// Signal sends a signal to a container's first process, or to all its processes. It is no error when the container has ended.
func (r *Runtime) Signal(ctx context.Context, id string, sig syscall.Signal, all bool) error {
	ctx = r.namespaced(ctx)
	e := r.entry(id)
	if e == nil {
		return fmt.Errorf("signal container %s: %w", id, ErrNotFound)
	}
	switch s := r.read(e); s.State {
	case StateExited, StateUnknown:
		return nil
	case StateCreating:
		return fmt.Errorf("signal container %s, which is %s: %w", id, s.State, ErrState)
	}
	_, err := r.client.TaskService().Kill(ctx, &tasks.KillRequest{ContainerID: id, Signal: uint32(sig), All: all})
	if err = errgrpc.ToNative(err); !gone(err) {
		return fmt.Errorf("signal container %s: %w", id, err)
	}
	return nil
}
