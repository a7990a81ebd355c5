// SPDX-License-Identifier: Apache-2.0

package main

import (
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/minikubelet/minikubelet/agent"
)

func runCommand(g *global) *cobra.Command {
	var file string
	var archives []string
	cmd := &cobra.Command{
		Use:   "run -f FILE",
		Short: "Run a Pod in the foreground",
		Long: `run runs the Pods of a manifest, with the ConfigMaps, Secrets and Namespaces in
it, shows each step and the containers' output, and removes everything at the
end. Interrupt (Ctrl-C) stops the Pods, a second one kills them. When a daemon
holds the data directory, it is handed the Pods, and may be restarted meanwhile.

The exit status is 0 when the Pod succeeded, otherwise that of the first
container that failed, and 130 after an interrupt.`,
		Example: "  minikubelet run -f examples/init-demo.yaml\n  minikubelet run --image-archive busybox.tar -f - <pod.yaml",
		Args:    noArgs("-f %s"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := g.config(cmd)
			if err != nil {
				return err
			}
			objects, err := loadManifest(file, cmd.InOrStdin(), cmd.ErrOrStderr(), nodeName(cfg))
			if err != nil {
				return err
			}
			if err := needRoot(); err != nil {
				return err
			}
			console := &agent.Console{Progress: os.Stderr, Output: os.Stdout, JSON: g.json(), Terminal: term.IsTerminal(int(os.Stderr.Fd()))}
			o := agent.RunOptions{Pods: podsOf(objects), Objects: othersOf(objects), Console: console, Archives: archives, Interrupt: interrupts()}
			status, err := agent.Run(cmd.Context(), cfg, o, g.logger(slog.LevelError)) // what a warning says, the console shows as an event
			if err != nil || status != 0 {
				return &exitError{max(status, 1), err}
			}
			return nil
		},
	}
	manifestFlag(cmd, &file)
	cmd.Flags().StringSliceVar(&archives, "image-archive", nil, "image archives to import first")
	return cmd
}

// interrupts tells of SIGINT, and of a terminal that is closed, as often as they come.
func interrupts() <-chan struct{} {
	out := make(chan struct{}, 2)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT)
	if !signal.Ignored(syscall.SIGHUP) { // as under nohup
		signal.Notify(signals, syscall.SIGHUP)
	}
	go func() {
		for range signals {
			out <- struct{}{}
		}
	}()
	return out
}
