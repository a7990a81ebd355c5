// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/minikubelet/minikubelet/agent/socket"
	"github.com/minikubelet/minikubelet/runtime/engine"
)

const (
	// besideWait is how long a holder of the data directory may take until it answers
	// on its socket: it may just be starting.
	besideWait = 5 * time.Second
	// besideTry is how often that is tried.
	besideTry = 50 * time.Millisecond
)

// errHolderGone says that the data directory is free by now.
var errHolderGone = errors.New("the data directory is free")

// socketPath is where the agent with this configuration listens.
func (c *Config) socketPath() string { return filepath.Join(c.RunDir, "api.sock") }

// beside reaches the agent that holds the data directory over its socket. A holder
// that does not answer is told with its process.
func beside(ctx context.Context, cfg *Config, locked *engine.LockedError) (*socket.Client, error) {
	ctx, cancel := context.WithTimeout(ctx, besideWait)
	defer cancel()
	client := socket.New(cfg.socketPath())
	for {
		err := client.Ping(ctx)
		if err == nil {
			return client, nil
		}
		if _, held := engine.Holder(cfg.DataDir); !held {
			return nil, errors.Join(errHolderGone, client.Close())
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(fmt.Errorf("%w (it does not answer on its API's socket: %w)", locked, err), client.Close())
		case <-time.After(besideTry):
		}
	}
}

// orBeside opens the node itself, or, when a running agent holds it, that agent's
// socket. Just one of the results is set.
func orBeside(ctx context.Context, cfg *Config, open func() (*Agent, error)) (*Agent, *socket.Client, error) {
	for {
		a, err := open()
		var locked *engine.LockedError
		if !errors.As(err, &locked) {
			return a, nil, err
		}
		client, err := beside(ctx, cfg, locked)
		if !errors.Is(err, errHolderGone) {
			return nil, client, err
		}
	}
}
