// SPDX-License-Identifier: Apache-2.0

package runtime

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"syscall"
	"time"

	apievents "github.com/containerd/containerd/api/events"
	"github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/api/types/task"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/core/events"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/containerd/typeurl/v2"
)

const (
	// calm is how long the clean-up after an exit waits: it starts a process, and what is to start next should have the processor. A
	// Pod with some containers is up by then.
	calm = 500 * time.Millisecond
	// firstRetry and lastRetry bound the pauses between attempts to reach containerd.
	firstRetry, lastRetry = 100 * time.Millisecond, 10 * time.Second
)

// stream is a subscription to task exits.
type stream struct {
	events <-chan *events.Envelope
	errs   <-chan error
}

func (r *Runtime) subscribe() stream {
	ch, errs := r.client.EventService().Subscribe(r.ctx, fmt.Sprintf(`topic=="/tasks/exit",namespace==%q`, r.cfg.Namespace))
	return stream{ch, errs}
}

// watch follows task exits until Close. When the stream breaks, because an external containerd restarts, it looks at everything
// again once there is a new one.
func (r *Runtime) watch(s stream) {
	for r.ctx.Err() == nil {
		select {
		case envelope := <-s.events:
			r.onEvent(envelope)
		case err := <-s.errs:
			if r.ctx.Err() != nil {
				return
			}
			r.log.Warn("lost the events of containerd; reconnecting", "error", err)
			s = r.reconnect()
		case <-r.ctx.Done():
		}
	}
}

// reconnect subscribes again, and then catches up.
func (r *Runtime) reconnect() stream {
	for pause := firstRetry; ; pause = min(2*pause, lastRetry) {
		select {
		case <-time.After(pause):
		case <-r.ctx.Done():
			return stream{}
		}
		s := r.subscribe()
		if err := r.adopt(r.ctx); err == nil {
			return s
		}
	}
}

func (r *Runtime) onEvent(envelope *events.Envelope) {
	if envelope == nil || envelope.Namespace != r.cfg.Namespace {
		return
	}
	v, err := typeurl.UnmarshalAny(envelope.Event)
	if err != nil {
		r.log.Warn("event of containerd not understood", "topic", envelope.Topic, "error", err)
		return
	}
	exit, ok := v.(*apievents.TaskExit)
	if !ok || exit.ID != exit.ContainerID {
		// The end of an Exec.
		return
	}
	if e := r.entry(exit.ContainerID); e != nil {
		r.exited(e, exit.ExitStatus, exit.ExitedAt.AsTime())
	}
}

// exited notes the end of a container's process.
func (r *Runtime) exited(e *entry, code uint32, at time.Time) {
	before := r.read(e)
	if before.State == StateExited {
		return
	}
	kills := uint64(0)
	if before.CgroupsPath != "" {
		var err error
		// The cgroup is gone when the shim died and containerd cleaned up before it told us.
		if kills, err = r.cfg.OOMKills(before.CgroupsPath); err != nil {
			r.log.Debug("number of OOM kills unknown", "container", before.ID, "error", err)
		}
	}
	if at.Unix() <= 0 {
		at = time.Now() // a shim that was killed knows no better
	}
	r.ended(e, func(s *Status) {
		s.ExitCode, s.FinishedAt, s.OOMKilled = int32(code), at, kills > 0
		if s.StartedAt.After(at) {
			s.StartedAt = at
		}
	})
}

// ended makes the container StateExited, tells OnChange, and has it recorded. The first end counts.
func (r *Runtime) ended(e *entry, fn func(s *Status)) {
	r.mu.Lock()
	if e.status.State == StateExited {
		r.mu.Unlock()
		return
	}
	fn(&e.status)
	e.status.State, e.status.PID = StateExited, 0
	close(e.ended)
	uid := e.status.Pod.UID
	r.mu.Unlock()
	r.onChange(uid)
	r.work.Go(func() { r.settle(e) })
}

// settle makes the end of a container durable and then frees what it held: first the record, then the task, which until then is
// where the exit code is found again after a crash. A sandbox's task stays until Remove: while others are in its shim, deleting it
// would not end the shim, and after a crash nobody would know of it any more.
func (r *Runtime) settle(e *entry) {
	select {
	case <-e.hurry:
		return // Remove takes all of it away
	default:
	}
	if !r.persist(e, r.recordExit) || r.read(e).Kind == KindSandbox {
		return
	}
	select {
	case <-time.After(calm):
	case <-e.hurry:
		return // Remove does the rest.
	case <-r.ctx.Done():
		return
	}
	r.persist(e, r.release)
}

// persist runs a step under the container's lock until it succeeds. It gives false when there is no point in going on.
func (r *Runtime) persist(e *entry, step func(ctx context.Context, s Status) error) bool {
	for pause := firstRetry; ; pause = min(2*pause, lastRetry) {
		if e.lock(r.ctx) != nil {
			return false
		}
		r.mu.Lock()
		s, removed := e.status, e.removed
		r.mu.Unlock()
		if removed {
			e.unlock()
			return false
		}
		err := step(r.ctx, s)
		e.unlock()
		if err == nil {
			return true
		}
		if r.ctx.Err() != nil {
			return false
		}
		r.log.Warn("after the end of a container", "container", s.ID, "pod", s.Pod.Name, "error", err)
		select {
		case <-time.After(pause):
		case <-e.hurry:
			return false
		case <-r.ctx.Done():
			return false
		}
	}
}

// recordExit writes the exit on the container record.
func (r *Runtime) recordExit(ctx context.Context, s Status) error {
	labels := exitLabels(s)
	var fields []string
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		fields = append(fields, "labels."+name)
	}
	r.forget(startKey(s.ID)) // the exit tells it too
	err := r.write(ctx, func(ctx context.Context) error {
		_, err := r.client.ContainerService().Update(ctx, containers.Container{ID: s.ID, Labels: labels}, fields...)
		if !gone(err) {
			return fmt.Errorf("record the exit: %w", err)
		}
		return nil
	})
	if e := r.entry(s.ID); err == nil && e != nil {
		r.mu.Lock()
		e.recorded = true
		r.mu.Unlock()
	}
	return err
}

// release frees what a container that ended still holds: the task in the shim at once, and the snapshot some time soon.
func (r *Runtime) release(ctx context.Context, s Status) error {
	if err := r.deleteTask(ctx, s); err != nil {
		return err
	}
	r.writeLater(snapshotKey(s.ID), func(ctx context.Context) {
		if err := r.removeSnapshot(ctx, s.ID); err != nil {
			r.log.Warn("the disk space of a container is not given back", "container", s.ID, "error", err)
		}
	})
	if e := r.entry(s.ID); e != nil {
		r.change(e, func(s *Status) { s.Released = true })
	}
	return nil
}

func (r *Runtime) removeSnapshot(ctx context.Context, id string) error {
	if err := r.client.SnapshotService(r.cfg.Snapshotter).Remove(ctx, id); !gone(err) {
		return fmt.Errorf("remove the root file system: %w", err)
	}
	return nil
}

// deleteTask kills the container's processes if there are any, and deletes the task. It is no error when there is none. While a
// process does not die, it tries until ctx ends.
func (r *Runtime) deleteTask(ctx context.Context, s Status) error {
	service, killed, id := r.client.TaskService(), false, s.ID
	if s.State == StateExited {
		_, err := service.Delete(ctx, &tasks.DeleteTaskRequest{ContainerID: id})
		if gone(errgrpc.ToNative(err)) {
			return nil
		}
	}
	for pause := time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		got, err := service.Get(ctx, &tasks.GetRequest{ContainerID: id})
		if err = errgrpc.ToNative(err); errdefs.IsNotFound(err) {
			return nil
		} else if err != nil {
			return fmt.Errorf("state of the task: %w", err)
		}
		if got.Process.Status == task.Status_STOPPED {
			break
		}
		if !killed {
			_, err := service.Kill(ctx, &tasks.KillRequest{ContainerID: id, Signal: uint32(syscall.SIGKILL), All: true})
			if err = errgrpc.ToNative(err); !gone(err) {
				return fmt.Errorf("kill: %w", err)
			}
			killed = true
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return fmt.Errorf("its processes do not end: %w", ctx.Err())
		}
	}
	_, err := service.Delete(ctx, &tasks.DeleteTaskRequest{ContainerID: id})
	if err = errgrpc.ToNative(err); !gone(err) {
		return fmt.Errorf("delete the task: %w", err)
	}
	return nil
}
