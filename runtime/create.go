// SPDX-License-Identifier: Apache-2.0

package runtime

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/api/types/runc/options"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/sandbox"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/containerd/typeurl/v2"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/minikubelet/minikubelet/runtime/crilog"
)

const (
	// sandboxPatience is how long Create of a container waits for Create of its sandbox to be called at all.
	sandboxPatience = 10 * time.Second
	// cleanupTime bounds what is done after the caller's context has ended, to leave nothing half-made.
	cleanupTime = 30 * time.Second
	// taskTime bounds a call to the shim that must not be interrupted by the caller.
	taskTime = 2 * time.Minute
)

// Create makes a container up to the point where only its process' start is left: records, root file system, namespaces, cgroup. On
// error nothing of it remains. When only the OCI runtime refuses it (a command that does not exist, for instance), Create succeeds,
// Status.Message tells, and Start fails: that is when Kubernetes reports it.
//
// Containers of one Pod may be created in parallel, also while their sandbox's Create runs, or is about to be called: they wait for
// what they need of it. Create of a container that is StateCreated already just gives its status; one that was left half-made by a
// crash is made anew; any other existing container is ErrState.
func (r *Runtime) Create(ctx context.Context, c Container) (Status, error) {
	if err := c.validate(); err != nil {
		return Status{}, err
	}
	ctx = r.namespaced(ctx)
	e, err := r.admit(ctx, &c)
	if err != nil {
		return Status{}, err
	}
	defer e.unlock()
	if s := r.read(e); s.State != StateCreating {
		return s, nil
	}
	defer close(e.created)
	s, err := r.create(ctx, e, &c)
	if err == nil {
		return s, nil
	}
	undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTime)
	defer cancel()
	if cleanup := r.destroy(undo, e); cleanup != nil {
		r.change(e, func(s *Status) { s.State, s.Message = StateUnknown, shorten(err.Error()) })
		err = fmt.Errorf("%w; and cleaning up: %w", err, cleanup)
	}
	return Status{}, &ContainerError{"create", c.Name, c.ID, err}
}

// admit gives the locked entry of the container: a new one, or one that is StateCreated.
func (r *Runtime) admit(ctx context.Context, c *Container) (*entry, error) {
	for {
		e := newEntry(c.newStatus())
		e.op <- struct{}{}
		old := r.add(e)
		if old == nil {
			return e, nil
		}
		if err := old.lock(ctx); err != nil {
			return nil, err
		}
		r.mu.Lock()
		s, removed := old.status, old.removed
		r.mu.Unlock()
		switch {
		case removed:
			old.unlock()
		case s.State == StateCreated:
			return old, nil
		case s.State == StateUnknown && s.StartedAt.IsZero():
			err := r.destroy(ctx, old)
			old.unlock()
			if err != nil {
				return nil, fmt.Errorf("container %s: remove what is left of an earlier attempt to create it: %w", c.ID, err)
			}
		default:
			old.unlock()
			return nil, fmt.Errorf("container %s exists, %s: %w", c.ID, s.State, ErrState)
		}
	}
}

// create does the work of Create. The order is that of protection from containerd's garbage collector: the record comes before the
// snapshot that it keeps alive.
func (r *Runtime) create(ctx context.Context, e *entry, c *Container) (Status, error) {
	img, err := r.image(ctx, c.Image)
	if err != nil {
		return Status{}, err
	}
	in := SpecInput{Image: img.config, ImageID: img.id, View: func(fn func(string) error) error { return r.view(ctx, img, c.ID, fn) }}
	if c.NeedSandboxPID {
		if in.SandboxPID, err = r.awaitSandboxPID(ctx, c.SandboxID); err != nil {
			return Status{}, err
		}
	}
	spec, err := c.Spec(ctx, in)
	if err != nil {
		return Status{}, fmt.Errorf("OCI spec: %w", err)
	}
	s := r.change(e, func(s *Status) {
		if spec.Linux != nil {
			s.CgroupsPath = spec.Linux.CgroupsPath
		}
		if spec.Process != nil {
			s.User = &specs.User{UID: spec.Process.User.UID, GID: spec.Process.User.GID, AdditionalGids: spec.Process.User.AdditionalGids}
		}
		if s.ImageID == "" {
			s.ImageID = img.id
		}
		if s.StopSignal == "" {
			s.StopSignal = img.config.StopSignal
		}
	})
	rootfs, createdAt, err := r.record(ctx, s, spec, img)
	if err != nil {
		return Status{}, err
	}
	r.change(e, func(s *Status) { s.CreatedAt = createdAt })
	if c.SandboxID != "" {
		if err := r.awaitShim(ctx, c.SandboxID); err != nil {
			return Status{}, err
		}
	}
	if err := ctx.Err(); err != nil {
		return Status{}, err
	}
	task, err := r.createTask(ctx, c, rootfs)
	if err == nil && ctx.Err() != nil {
		err = ctx.Err()
	}
	if err != nil && (c.Kind == KindSandbox || ctx.Err() != nil || !isRefusal(err)) {
		return Status{}, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		e.refused = err
		e.status.Message = shorten(err.Error())
	} else {
		e.status.PID = int(task.Pid)
	}
	if e.status.State == StateCreating {
		e.status.State = StateCreated
	}
	return e.status, nil
}

// isRefusal tells the OCI runtime's answer, which is about this container, from a failure of what is between: containerd may still be
// clearing away what it made for an agent that was killed, or the machine may be full. Only the shim's words tell.
func isRefusal(err error) bool { return strings.Contains(err.Error(), "OCI runtime create failed") }

// createTask has the shim and the OCI runtime make the container. This is not interrupted: a shim that is killed while it starts
// leaves a process behind that nobody knows.
func (r *Runtime) createTask(ctx context.Context, c *Container, rootfs []mount.Mount) (*tasks.CreateTaskResponse, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), taskTime)
	defer cancel()
	log := r.logURI(c)
	request := &tasks.CreateTaskRequest{ContainerID: c.ID, Terminal: c.TTY, Stdout: log, Stderr: log, Rootfs: mount.ToProto(rootfs)}
	if c.Kind == KindSandbox && r.cfg.NewShim != nil {
		var err error
		if request.TaskApiAddress, request.TaskApiVersion, err = r.cfg.NewShim(ctx); err != nil {
			return nil, err
		}
	}
	made, err := r.client.TaskService().Create(ctx, request)
	if err != nil {
		return nil, fmt.Errorf("failed to create containerd task: %w", errgrpc.ToNative(err))
	}
	return made, nil
}

// record writes what containerd keeps of the container, and prepares its root file system.
//
// A sandbox needs its sandbox record, so that containers can join it. For the others it is a safeguard: at its start, containerd reaps
// every task that has no live process and no sandbox record of the same ID, and the exit code of a container that ended while no agent
// ran would be lost.
func (r *Runtime) record(ctx context.Context, s Status, spec *specs.Spec, img image) (rootfs []mount.Mount, createdAt time.Time, err error) {
	packed, err := typeurl.MarshalAny(spec)
	if err != nil {
		return nil, createdAt, fmt.Errorf("OCI spec: %w", err)
	}
	labels := map[string]string{LabelKind: string(s.Kind)}
	ids, mapped := mappingOf(spec)
	if mapped {
		if err := r.mapRoot(ctx, labels, ids); err != nil {
			return nil, createdAt, err
		}
	}
	// The user is the owner of pipes: /dev/stdout can be opened.
	runc, err := typeurl.MarshalAny(&options.Options{BinaryName: r.cfg.Runc, Root: r.cfg.RuncRoot, IoUid: ids.HostID, IoGid: ids.HostID})
	if err != nil {
		return nil, createdAt, fmt.Errorf("runtime options: %w", err)
	}
	record := containers.Container{
		ID: s.ID, Labels: identityLabels(s), Image: s.Image, SandboxID: s.SandboxID, Spec: packed,
		Runtime: containers.RuntimeInfo{Name: r.cfg.Shim, Options: runc},
	}
	if s.Kind == KindSandbox && r.cfg.NewShim != nil {
		record.SandboxID = s.ID // containerd takes the address of a shim for what is in a sandbox
	}
	if img.chainID != "" {
		record.Snapshotter, record.SnapshotKey = r.cfg.Snapshotter, s.ID
	}
	now := time.Now()
	write := func(ctx context.Context) error {
		if s.Kind == KindSandbox || !r.cfg.KeepsExits {
			_, err := r.client.SandboxStore().Create(ctx, sandbox.Sandbox{
				ID: s.ID, Labels: map[string]string{LabelKind: string(s.Kind)}, CreatedAt: now, UpdatedAt: now,
			})
			if err != nil {
				return fmt.Errorf("sandbox record: %w", err)
			}
		}
		made, err := r.client.ContainerService().Create(ctx, record)
		if err != nil {
			return fmt.Errorf("container record: %w", err)
		}
		if createdAt = made.CreatedAt; img.chainID == "" {
			return nil
		}
		rootfs, err = r.client.SnapshotService(r.cfg.Snapshotter).Prepare(ctx, s.ID, img.chainID, snapshots.WithLabels(labels))
		if err != nil {
			return fmt.Errorf("root file system: %w", err)
		}
		return nil
	}
	err = r.write(ctx, write)
	return rootfs, createdAt, err
}

// awaitSandbox waits until Create of the sandbox was called.
func (r *Runtime) awaitSandbox(ctx context.Context, id string) (*entry, error) {
	patience := time.NewTimer(sandboxPatience)
	defer patience.Stop()
	for {
		r.mu.Lock()
		e, arrived := r.entries[id], r.arrived
		r.mu.Unlock()
		if e != nil {
			return e, nil
		}
		select {
		case <-arrived:
		case <-patience.C:
			return nil, fmt.Errorf("sandbox %s: %w", id, ErrNotFound)
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// awaitSandboxPID waits until the sandbox's process exists.
func (r *Runtime) awaitSandboxPID(ctx context.Context, id string) (int, error) {
	e, err := r.awaitSandbox(ctx, id)
	if err != nil {
		return 0, err
	}
	select {
	case <-e.created:
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	return r.read(e).PID, r.usable(e)
}

// awaitShim waits until containers can join the sandbox.
func (r *Runtime) awaitShim(ctx context.Context, id string) error {
	e, err := r.awaitSandbox(ctx, id)
	if err != nil {
		return err
	}
	select {
	case <-e.created:
		return r.usable(e)
	default:
	}
	if r.cfg.ShimReady != nil {
		bounded, cancel := context.WithCancel(ctx)
		defer cancel()
		go func() {
			select {
			case <-e.created:
				cancel()
			case <-bounded.Done():
			}
		}()
		if r.cfg.ShimReady(bounded, id) {
			return nil
		}
	}
	select {
	case <-e.created:
		return r.usable(e)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// usable says whether containers can be created in the sandbox.
func (r *Runtime) usable(sandbox *entry) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s := sandbox.status; sandbox.removed || (s.State != StateCreated && s.State != StateRunning) {
		return fmt.Errorf("sandbox %s is gone (%s): %w", s.ID, s.State, ErrState)
	}
	return nil
}

// logURI tells the shim where the container's output goes, and how to attach to it.
func (r *Runtime) logURI(c *Container) string {
	if c.LogPath == "" {
		return ""
	}
	target := crilog.Target{Path: c.LogPath, MaxBytes: c.LogMaxBytes, MaxFiles: c.LogMaxFiles, Stdin: c.Stdin}
	if c.SandboxID != "" {
		target.Attach = r.attachPath(c.SandboxID)
	}
	return target.URI().String()
}

// gone says that an error only means that there is nothing to be done.
func gone(err error) bool {
	return err == nil || errdefs.IsNotFound(err) || errors.Is(err, ErrNotFound)
}
