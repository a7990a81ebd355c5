// SPDX-License-Identifier: Apache-2.0

package cgroups

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// busyFor bounds how long removal waits for a directory whose last process has
// ended but is not gone yet.
const busyFor = 2 * time.Second

// RemovePod removes the Pod's cgroup and those of its containers in every
// hierarchy. It is idempotent and safe for a Pod that never had one. Directories
// with live processes stay, and the error says which; KillPod first.
func (t *Tree) RemovePod(ctx context.Context, uid string) error {
	if err := checkUID(uid); err != nil {
		return err
	}
	var errs []error
	for _, dir := range t.podDirs(uid) {
		errs = append(errs, removeTree(ctx, dir))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("removing the cgroup of pod %s: %w", uid, err)
	}
	return nil
}

// Remove removes the whole tree from every hierarchy. It fails, and removes
// nothing, while a Pod has a cgroup.
func (t *Tree) Remove(ctx context.Context) error {
	pods, err := t.Pods()
	if err != nil {
		return err
	}
	if len(pods) > 0 {
		return fmt.Errorf("cgroup root %s still has %d pods, first %s", t.root, len(pods), pods[0])
	}
	var errs []error
	for _, h := range t.hierarchies {
		errs = append(errs, removeTree(ctx, filepath.Join(h.mount, t.root)))
	}
	return errors.Join(errs...)
}

// removeTree removes a cgroup directory, children first. A directory that is not
// there is no error.
func removeTree(ctx context.Context, dir string) error {
	if err := rmdir(ctx, dir, 0); err == nil || !errors.Is(err, syscall.EBUSY) {
		return err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		if isNotExist(err) {
			return nil
		}
		return err
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := removeTree(ctx, filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return rmdir(ctx, dir, busyFor)
}

// rmdir removes one directory, and tries again for so long as it is busy and the
// time is not over.
func rmdir(ctx context.Context, dir string, patience time.Duration) error {
	end := time.Now().Add(patience)
	for pause := time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		err := syscall.Rmdir(dir)
		switch {
		case err == nil || errors.Is(err, syscall.ENOENT):
			return nil
		case errors.Is(err, syscall.EINTR):
			continue
		case !errors.Is(err, syscall.EBUSY) || !time.Now().Before(end):
			return &os.PathError{Op: "rmdir", Path: dir, Err: err}
		}
		select {
		case <-ctx.Done():
			return &os.PathError{Op: "rmdir", Path: dir, Err: errors.Join(err, ctx.Err())}
		case <-time.After(pause):
		}
	}
}
