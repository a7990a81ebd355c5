// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"github.com/minikubelet/minikubelet/agent/socket"
	"github.com/minikubelet/minikubelet/runtime/image"
)

// ImageStore is a node's images, for work on them by command. Progress may be nil.
type ImageStore interface {
	// Import takes in the archive at path; name is for one without.
	Import(ctx context.Context, path, name string, progress func(image.Progress)) ([]image.Image, error)
	// Pull makes an image available with the node's mirrors and credentials.
	Pull(ctx context.Context, ref string, progress func(image.Progress)) (image.Image, error)
	List(ctx context.Context) ([]image.Image, error)
	// Remove is image.Store's.
	Remove(ctx context.Context, ref string, force bool) ([]string, error)
	Close() error
}

// OpenImages opens as much of a node as work on its images needs. When an agent
// runs there, the work is that agent's.
func OpenImages(ctx context.Context, cfg Config, log *slog.Logger) (ImageStore, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	a, client, err := orBeside(ctx, &cfg, func() (*Agent, error) { return openImages(ctx, cfg, log) })
	switch {
	case err != nil:
		return nil, err
	case a != nil:
		return ownImages{a}, nil
	}
	beside := socket.Images{Client: client, Hosts: cfg.RegistryHosts}
	if cfg.RegistryAuth != "" {
		if beside.Auth, err = os.ReadFile(cfg.RegistryAuth); err != nil {
			return nil, errors.Join(fmt.Errorf("registryAuth: %w", err), client.Close())
		}
	}
	return beside, nil
}

func openImages(ctx context.Context, cfg Config, log *slog.Logger) (_ *Agent, err error) {
	a := &Agent{cfg: cfg, log: log}
	defer func() {
		if err != nil {
			err = errors.Join(err, a.Close())
		}
	}()
	for _, step := range []func(context.Context) error{a.openDirs, a.openEngine, a.openImages} {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	return a, nil
}

// ownImages are those of a node that is opened for them.
type ownImages struct{ agent *Agent }

func (o ownImages) Import(ctx context.Context, path, name string, progress func(image.Progress)) ([]image.Image, error) {
	return o.agent.images.ImportFile(ctx, path, image.ImportOptions{Name: name, Progress: progress})
}

func (o ownImages) Pull(ctx context.Context, ref string, progress func(image.Progress)) (image.Image, error) {
	a := o.agent
	return a.images.Pull(ctx, ref, image.PullOptions{Credentials: a.pullAuth, HostsDir: a.cfg.RegistryHosts, Progress: progress})
}

func (o ownImages) List(ctx context.Context) ([]image.Image, error) { return o.agent.images.List(ctx) }

func (o ownImages) Remove(ctx context.Context, ref string, force bool) ([]string, error) {
	return o.agent.images.Remove(ctx, ref, force)
}

func (o ownImages) Close() error { return o.agent.Close() }
