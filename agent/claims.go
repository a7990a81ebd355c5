// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/minikubelet/minikubelet/agent/claims"
	"github.com/minikubelet/minikubelet/volumes"
)

// volumesDir is where persistent volumes are made.
func (c *Config) volumesDir() string {
	dir := filepath.Join(c.DataDir, "volumes")
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		return real
	}
	return dir
}

// keepClaims gives claims their volumes until ctx ends.
func (a *Agent) keepClaims(ctx context.Context) {
	err := claims.PutClass(a.store)
	if err == nil {
		err = claims.Run(ctx, a.claims())
	}
	if err != nil {
		a.log.Error("PersistentVolumeClaims no longer get volumes; restart the agent", "err", err)
	}
}

// settleClaims removes the volumes of claims that are gone with the last Pods, when
// Run has returned.
func (a *Agent) settleClaims(ctx context.Context) error { return claims.Settle(ctx, a.claims()) }

func (a *Agent) claims() claims.Config {
	return claims.Config{
		Store: a.store, Node: a.cfg.NodeName, Dir: a.cfg.volumesDir(),
		Tell: a.manager.Load().ObjectEvent, Bound: boundVolume, Remove: volumes.Remove, Log: a.log,
	}
}

func boundVolume(dir string, bytes int64) error {
	err := volumes.Bound(dir, bytes)
	if errors.Is(err, volumes.ErrNoQuota) {
		return fmt.Errorf("%w: %w", claims.ErrNotBounded, err)
	}
	return err
}
