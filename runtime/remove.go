// SPDX-License-Identifier: Apache-2.0

package runtime

import (
	"context"
	"fmt"
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
	r.mu.Lock()
	removed := e.removed
	r.mu.Unlock()
	if removed {
		return nil
	}
	if err := r.destroy(ctx, e); err != nil {
		return fmt.Errorf("remove container %s (%s): %w", r.read(e).Name, id, err)
	}
	r.drop(e)
	return nil
}

// removeMembers removes the containers that share a sandbox, in parallel: of those that have ended all but the record.
func (r *Runtime) removeMembers(ctx context.Context, sandboxID string) error {
	var group errgroup.Group
	for _, s := range r.List() {
		switch {
		case s.SandboxID != sandboxID:
		case s.State == StateExited:
			group.Go(func() error { return r.empty(ctx, s.ID) })
		default:
			group.Go(func() error { return r.Remove(ctx, s.ID) })
		}
	}
	return group.Wait()
}

// empty makes an end durable and frees all that the container held, at once.
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
	if err := r.recordExit(bounded, s); err != nil {
		return err
	}
	return r.release(bounded, s)
}

// destroy removes all there may be of a container, in the reverse order of Create. The caller holds the entry's lock.
func (r *Runtime) destroy(ctx context.Context, e *entry) error {
	s := r.read(e)
	bounded, cancel := context.WithTimeout(ctx, killTime)
	defer cancel()
	if err := r.deleteTask(bounded, s.ID); err != nil {
		return err
	}
	r.forget(startKey(s.ID), snapshotKey(s.ID))
	return r.write(ctx, func(ctx context.Context) error {
		if err := r.removeSnapshot(ctx, s.ID); err != nil {
			return err
		}
		if err := r.client.ContainerService().Delete(ctx, s.ID); !gone(err) {
			return fmt.Errorf("container record: %w", err)
		}
		if err := r.client.SandboxStore().Delete(ctx, s.ID); !gone(err) {
			return fmt.Errorf("sandbox record: %w", err)
		}
		return nil
	})
}
