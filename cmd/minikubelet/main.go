// SPDX-License-Identifier: Apache-2.0

// Command minikubelet runs Kubernetes Pods as containers on one machine.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

// exitError ends the program with a status of its own, after the message, if any.
type exitError struct {
	status int
	err    error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit status %d", e.status)
	}
	return e.err.Error()
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	err := root().ExecuteContext(ctx)
	if err == nil {
		return
	}
	status := 1
	var exit *exitError
	if errors.As(err, &exit) {
		status, err = exit.status, exit.err
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "minikubelet:", err)
	}
	os.Exit(status)
}

func root() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "minikubelet",
		Short: "Run Kubernetes Pods as containers on this machine",
		Long: `minikubelet runs Kubernetes Pods as real containers on one Linux machine,
without a cluster. Drop manifests into a directory (serve), or run one Pod in
the foreground (run).`,
		SilenceUsage: true, SilenceErrors: true,
	}
	g := &global{}
	g.flags(cmd)
	cmd.AddCommand(serveCommand(g), runCommand(g), stopCommand(g), imageCommand(g), versionCommand(g), planCommand(g), checkCommand(g))
	return cmd
}
