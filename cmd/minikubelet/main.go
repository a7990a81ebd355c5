// SPDX-License-Identifier: Apache-2.0

// Command minikubelet runs Kubernetes Pods as containers on one machine.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
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
without a cluster. Run a manifest in the foreground (run), or drop manifests into
a directory whose Pods are kept running (serve).`,
		Example: `  minikubelet check                  can Pods run here?
  minikubelet plan -f pod.yaml       what would become of this one?
  minikubelet run -f pod.yaml        run it, Ctrl-C ends it
  minikubelet serve                  keep the Pods of /etc/minikubelet/manifests running`,
		SilenceUsage: true, SilenceErrors: true,
	}
	g := &global{}
	g.flags(cmd)
	cmd.SetUsageTemplate(wrapped(cmd.UsageTemplate()))
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return fmt.Errorf("%w; %s --help lists the flags", err, cmd.CommandPath())
	})
	cmd.AddGroup(&cobra.Group{ID: "pods", Title: "Pods:"}, &cobra.Group{ID: "look", Title: "Before running any:"}, &cobra.Group{ID: "more", Title: "More:"})
	add := func(group string, children ...*cobra.Command) {
		for _, c := range children {
			c.GroupID = group
			c.SetUsageTemplate(wrapped(shortGlobals(c.UsageTemplate())))
			cmd.AddCommand(c)
		}
	}
	add("pods", runCommand(g), serveCommand(g), stopCommand(g))
	add("look", checkCommand(g), planCommand(g))
	add("more", kubeconfigCommand(g), imageCommand(g), versionCommand(g))
	cmd.SetHelpCommandGroupID("more")
	cmd.SetCompletionCommandGroupID("more")
	return cmd
}

// shortGlobals replaces the list of global flags, longer than everything else in
// a command's help, by a word on them.
func shortGlobals(template string) string {
	return strings.Replace(template, "Global Flags:\n{{.InheritedFlags.FlagUsages | trimTrailingWhitespaces}}",
		"All commands take --config, --data-dir, --run-dir, -o json and more: see minikubelet --help", 1)
}

// wrapped keeps lists of flags within 100 columns.
func wrapped(template string) string {
	return strings.ReplaceAll(template, ".LocalFlags.FlagUsages ", ".LocalFlags.FlagUsagesWrapped 100 ")
}

// noArgs refuses arguments. hint, if any, says what to write instead of one.
func noArgs(hint string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) == 0:
			return nil
		case hint != "":
			return fmt.Errorf("%s takes no argument %q: write %s "+hint, cmd.Name(), args[0], cmd.CommandPath(), args[0])
		}
		return fmt.Errorf("%s takes no argument, but got %q", cmd.Name(), args[0])
	}
}

// someArgs wants one argument or more.
func someArgs(what, example string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return fmt.Errorf("%s needs %s: write for example %s %s", cmd.Name(), what, cmd.CommandPath(), example)
		}
		return nil
	}
}

// needRoot tells at once what would otherwise fail at the first directory.
func needRoot() error {
	if uid := os.Geteuid(); uid != 0 {
		return fmt.Errorf("this needs root, and runs as user %d: use sudo (minikubelet plan needs none)", uid)
	}
	return nil
}
