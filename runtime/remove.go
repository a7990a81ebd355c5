// SPDX-License-Identifier: Apache-2.0

package runtime

import (
	"context"
	"fmt"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
)

// killTime bounds how long Remove waits for a killed container's processes to vanish.
const killTime = 10 * time.Second

// Remove kills a container if it runs and removes all of it: task, root file system, records. Removing a sandbox first removes the
// containers in it, and ends the shim; of those that have ended the records stay, which tell how, until they are removed themselves.
// It is no error when there is nothing; after an error it can be called again. What Create is making is removed once Create has
// returned, so cancel its context first.
func (r *Runtime) Remove(ctx context.Context, id string) error {
	ctx = r.namespaced(ctx)
	e := r.entry(id)
	if e == nil {
		return nil
	}
	if r.read(e).Kind == KindSandbox {
		if err := r.removeMembers(ctx, id); err != nil {
			return err
		}
	}
	e.hasten()
	if err := e.lock(ctx); err != nil {
		return err
	}
	defer e.unlock()
	if r.isRemoved(e) {
		return nil
	}
	if err := r.destroy(ctx, e); err != nil {
		return fmt.Errorf("remove container %s (%s): %w", r.read(e).Name, id, err)
	}
	return nil
}

// RemoveSandbox is Remove of a sandbox whose processes are ended all at once by kill, which the kernel does faster than the OCI
// runtime. What runs in the sandbox counts as ended then, so that its record stays. There need not be a sandbox of that ID.
func (r *Runtime) RemoveSandbox(ctx context.Context, id string, kill func(ctx context.Context) error) error {
	ctx = r.namespaced(ctx)
	if e := r.entry(id); e != nil {
		e.hasten() // its end need not be recorded
	}
	before := r.List()
	if err := kill(ctx); err != nil {
		return err
	}
	var group errgroup.Group
	for _, s := range before {
		e := r.entry(s.ID)
		switch {
		case e == nil || (s.SandboxID != id && s.ID != id):
		case s.State == StateRunning:
			group.Go(func() error { return r.awaitEnd(ctx, e) })
		case s.State == StateCreated && s.ID != id: // it never ran, and has no end to be told
			group.Go(func() error { return r.Remove(ctx, s.ID) })
		}
	}
	if err := group.Wait(); err != nil {
		return err
	}
	if err := r.removeMembers(ctx, id); err != nil {
		return err
	}
	return r.Remove(ctx, id)
}

// newsTime is how long the news of an end may take after the kill, before the OCI runtime is asked to kill.
const newsTime = time.Second

// awaitEnd waits until a container that was killed is seen to have ended.
func (r *Runtime) awaitEnd(ctx context.Context, e *entry) error {
	for _, patience := range []time.Duration{newsTime, killTime} {
		select {
		case <-e.ended:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(patience):
		}
		s := r.read(e)
		if s.State != StateRunning {
			return nil
		}
		if err := r.Signal(ctx, s.ID, syscall.SIGKILL, true); err != nil {
			return err
		}
	}
	return fmt.Errorf("container %s does not end", r.read(e).ID)
}

func (r *Runtime) isRemoved(e *entry) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return e.removed
}

// removeMembers removes the containers that share a sandbox, in parallel: of those that have ended all but the record.
func (r *Runtime) removeMembers(ctx context.Context, sandboxID string) error {
	var group errgroup.Group
	for _, s := range r.List() {
		switch {
		case s.SandboxID != sandboxID:
		case s.State == StateExited, s.State == StateUnknown && !s.StartedAt.IsZero(): // the latter ended with the machine
			group.Go(func() error { return r.empty(ctx, s.ID) })
		default:
			group.Go(func() error { return r.Remove(ctx, s.ID) })
		}
	}
	return group.Wait()
}

// empty makes an end durable, if it is known, and frees all that the container held, at once.
func (r *Runtime) empty(ctx context.Context, id string) error {
	e := r.entry(id)
	if e == nil {
		return nil
	}
	if err := e.lock(ctx); err != nil {
		return err
	}
	defer e.unlock()
	r.mu.Lock()
	s, removed := e.status, e.removed
	r.mu.Unlock()
	if removed || s.Released {
		return nil
	}
	bounded, cancel := context.WithTimeout(ctx, killTime)
	defer cancel()
	if s.State == StateExited && !r.isRecorded(e) {
		if err := r.recordExit(bounded, s); err != nil {
			return err
		}
	}
	return r.release(bounded, s)
}

// isRecorded says whether the container's end is on disk.
func (r *Runtime) isRecorded(e *entry) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return e.recorded
}

// destroy removes all there may be of a container, in the reverse order of Create, and its entry with it. The caller holds the
// entry's lock.
func (r *Runtime) destroy(ctx context.Context, e *entry) error {
	bounded, cancel := context.WithTimeout(ctx, killTime)
	defer cancel()
	if err := r.deleteTask(bounded, r.read(e)); err != nil {
		return err
	}
	return r.unrecord(ctx, e)
}

// unrecord removes a container's root file system, its records, and the entry.
func (r *Runtime) unrecord(ctx context.Context, e *entry) error {
	id := r.read(e).ID
	r.forget(startKey(id), snapshotKey(id))
	err := r.write(ctx, func(ctx context.Context) error {
		if err := r.removeSnapshot(ctx, id); err != nil {
			return err
		}
		if err := r.client.ContainerService().Delete(ctx, id); !gone(err) {
			return fmt.Errorf("container record: %w", err)
		}
		if err := r.client.SandboxStore().Delete(ctx, id); !gone(err) {
			return fmt.Errorf("sandbox record: %w", err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if r.read(e).Kind == KindSandbox {
		if err := r.removeAttach(id); err != nil {
			return err
		}
	}
	r.drop(e)
	return nil
}
