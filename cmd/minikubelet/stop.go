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
		Example: "  minikubelet stop\n  minikubelet stop --pods --grace-period 5",
		Args:    noArgs(""),
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
			pid, err := stopDaemon(ctx, cfg.DataDir)
			if err != nil {
				return err
			}
			out := stopped{PID: pid, Pods: pods || pid == 0}
			if !out.Pods {
				return g.printStopped(cmd, out)
			}
			var seconds *int64
			if cmd.Flags().Changed("grace-period") {
				seconds = &grace
			}
			if err := agent.StopPods(ctx, cfg, seconds, g.logger(slog.LevelInfo)); err != nil {
				return err
			}
			return g.printStopped(cmd, out)
		},
	}
	cmd.Flags().BoolVar(&pods, "pods", false, "end the Pods too")
	cmd.Flags().Int64Var(&grace, "grace-period", 0, "seconds that Pods have to end (default each Pod's own)")
	cmd.Flags().DurationVar(&timeout, "timeout", 5*time.Minute, "how long to wait in all")
	return cmd
}

// stopped is what stop has done.
type stopped struct {
	PID  int  `json:"pid,omitempty"` // the agent's; 0 when there was none
	Pods bool `json:"pods"`          // all Pods have ended
}

func (g *global) printStopped(cmd *cobra.Command, s stopped) error {
	if g.json() {
		return writeJSON(cmd.OutOrStdout(), s)
	}
	agent, pods := "no agent was running", "its Pods go on running"
	if s.PID != 0 {
		agent = fmt.Sprintf("the agent (process %d) has ended", s.PID)
	}
	if s.Pods {
		pods = "no Pod is left"
	}
	_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s; %s\n", agent, pods)
	return err
}

// stopDaemon ends the holder of the data directory and waits until it is gone. It
// returns its process ID, 0 when there was none.
func stopDaemon(ctx context.Context, dataDir string) (int, error) {
	pid, held := engine.Holder(dataDir)
	if !held {
		return 0, nil
	}
	if pid <= 0 {
		return 0, fmt.Errorf("%s is in use by a process that is just starting; try again", dataDir)
	}
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil && !errors.Is(err, syscall.ESRCH) {
		return 0, fmt.Errorf("stop process %d: %w", pid, err)
	}
	for tick := time.NewTicker(20 * time.Millisecond); ; {
		if now, held := engine.Holder(dataDir); !held || now != pid {
			tick.Stop()
			return pid, nil
		}
		select {
		case <-ctx.Done():
			tick.Stop()
			return 0, fmt.Errorf("process %d has not ended: %w", pid, ctx.Err())
		case <-tick.C:
		}
	}
}
