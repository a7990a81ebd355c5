// SPDX-License-Identifier: Apache-2.0

package runtime

import (
	"context"
	"fmt"

	"github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/api/types/task"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs/pkg/errgrpc"
)

// adopt looks at all containers with our labels and their tasks, and brings the cache up to date. Containers that an operation of
// this process is busy with are left to it.
func (r *Runtime) adopt(ctx context.Context) error {
	records, err := r.client.ContainerService().List(ctx, fmt.Sprintf("labels.%q", LabelKind))
	if err != nil {
		return fmt.Errorf("list containers: %w", err)
	}
	listed, err := r.client.TaskService().List(ctx, &tasks.ListTasksRequest{})
	if err != nil {
		return fmt.Errorf("list tasks: %w", errgrpc.ToNative(err))
	}
	running := map[string]*task.Process{}
	for _, t := range listed.Tasks {
		running[t.ID] = t
	}
	for _, record := range records {
		s, err := statusOf(record)
		if err != nil {
			// A record of ours that cannot be read is one that nobody wants: as StateUnknown the sweeper removes it.
			r.log.Warn("container record with labels that cannot be read", "error", err)
		}
		e := newEntry(s)
		if old := r.add(e); old != nil {
			e = old
		} else {
			close(e.created)
		}
		r.observe(e, running[record.ID])
	}
	return r.sweepSnapshots(ctx, func(info snapshots.Info) bool {
		return info.Kind == snapshots.KindActive && r.entry(info.Name) == nil
	})
}

// observe brings one entry up to date with what its task says; t is nil when there is none.
func (r *Runtime) observe(e *entry, t *task.Process) {
	s := r.read(e)
	if s.State == StateCreating {
		return
	}
	if s.State == StateExited {
		// On record; but the agent may have died before it freed the rest.
		r.mu.Lock()
		e.recorded = true
		r.mu.Unlock()
		if s.Kind != KindSandbox {
			r.work.Go(func() { r.persist(e, r.release) })
		}
		return
	}
	if t == nil {
		if code, at, ok := r.cfg.RecordedExit(s.ID); ok {
			r.exited(e, code, at)
		} else {
			r.lost(e)
		}
		return
	}
	switch t.Status {
	case task.Status_CREATED:
		r.change(e, func(s *Status) { s.State, s.PID = StateCreated, int(t.Pid) })
	case task.Status_STOPPED:
		r.change(e, func(s *Status) {
			if s.StartedAt.IsZero() && !r.cfg.NeverStarted(s.ID) {
				s.StartedAt = s.CreatedAt
			}
		})
		r.exited(e, t.ExitStatus, t.ExitedAt.AsTime())
	default:
		var restore *Status
		r.change(e, func(s *Status) {
			s.State, s.PID = StateRunning, int(t.Pid)
			if s.StartedAt.IsZero() {
				if s.StartedAt = processStart(s.PID); s.StartedAt.IsZero() {
					s.StartedAt = s.CreatedAt
				}
				copied := *s
				restore = &copied
			}
		})
		if restore != nil {
			r.work.Go(func() { r.recordStart(*restore) })
		}
	}
}

// lost notes that a container has no task and no exit on record.
func (r *Runtime) lost(e *entry) {
	r.mu.Lock()
	known := e.status.State == StateUnknown
	e.status.State, e.status.PID = StateUnknown, 0
	uid := e.status.Pod.UID
	r.mu.Unlock()
	if !known {
		r.onChange(uid)
	}
}

// sweepViews removes the views of images that a killed agent left. It is called before there are any of this process.
func (r *Runtime) sweepViews(ctx context.Context) error {
	return r.sweepSnapshots(ctx, func(info snapshots.Info) bool {
		return info.Kind == snapshots.KindView && info.Labels[LabelKind] != kindVolume
	})
}

// sweepSandboxes removes sandbox records of ours without the container record that each comes and goes with. It is called before any
// is made.
func (r *Runtime) sweepSandboxes(ctx context.Context) error {
	list, err := r.client.SandboxStore().List(ctx)
	if err != nil {
		return fmt.Errorf("list sandbox records: %w", err)
	}
	for _, s := range list {
		if s.Labels[LabelKind] == "" || r.entry(s.ID) != nil {
			continue
		}
		if err := r.client.SandboxStore().Delete(ctx, s.ID); !gone(err) {
			return fmt.Errorf("remove the sandbox record %s, which no container has: %w", s.ID, err)
		}
	}
	return nil
}

// sweepSnapshots removes those of our snapshots that nothing uses, as orphan says. containerd's garbage collector would do it in time.
func (r *Runtime) sweepSnapshots(ctx context.Context, orphan func(info snapshots.Info) bool) error {
	service := r.client.SnapshotService(r.cfg.Snapshotter)
	var orphans []string
	err := service.Walk(ctx, func(_ context.Context, info snapshots.Info) error {
		if info.Labels[LabelKind] != "" && orphan(info) {
			orphans = append(orphans, info.Name)
		}
		return nil
	})
	if !gone(err) {
		return fmt.Errorf("list snapshots: %w", err)
	}
	for _, key := range orphans {
		if err := service.Remove(ctx, key); !gone(err) {
			r.log.Warn("cannot remove a snapshot that no container uses", "snapshot", key, "error", err)
		}
	}
	return nil
}
