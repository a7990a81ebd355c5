// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/minikubelet/minikubelet/agent"
	"github.com/minikubelet/minikubelet/runtime/engine"
)

func stopCommand(g *global) *cobra.Command {
	var pods bool
	var grace int64
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "stop",
		Short: "Stop the daemon and, with --pods, every Pod",
		Long: `stop ends the daemon that holds the data directory. Its Pods go on running,
unless --pods is given. Without a daemon, stop ends the Pods that are left.
Pods end within their grace periods; then their containers, networks and
cgroups are removed. Images and configuration stay.`,
		Args: noArgs(""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := g.config(cmd)
			if err != nil {
				return err
			}
			if err := needRoot(); err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
			defer cancel()
			ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT)
			defer stop()
			stopped, err := stopDaemon(ctx, cfg.DataDir)
			if err != nil || (stopped && !pods) {
				return err
			}
			var seconds *int64
			if cmd.Flags().Changed("grace-period") {
				seconds = &grace
			}
			return agent.StopPods(ctx, cfg, seconds, g.logger(slog.LevelInfo))
		},
	}
	cmd.Flags().BoolVar(&pods, "pods", false, "end the Pods too")
	cmd.Flags().Int64Var(&grace, "grace-period", 0, "seconds that Pods have to end (default each Pod's own)")
	cmd.Flags().DurationVar(&timeout, "timeout", 5*time.Minute, "how long to wait in all")
	return cmd
}

// stopDaemon ends the holder of the data directory and waits until it is gone.
func stopDaemon(ctx context.Context, dataDir string) (bool, error) {
	pid, held := engine.Holder(dataDir)
	if !held {
		return false, nil
	}
	if pid <= 0 {
		return false, fmt.Errorf("%s is in use by a process that is just starting; try again", dataDir)
	}
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil && !errors.Is(err, syscall.ESRCH) {
		return false, fmt.Errorf("stop process %d: %w", pid, err)
	}
	for tick := time.NewTicker(20 * time.Millisecond); ; {
		if now, held := engine.Holder(dataDir); !held || now != pid {
			tick.Stop()
			return true, nil
		}
		select {
		case <-ctx.Done():
			tick.Stop()
			return false, fmt.Errorf("process %d has not ended: %w", pid, ctx.Err())
		case <-tick.C:
		}
	}
}
