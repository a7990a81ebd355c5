// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/minikubelet/minikubelet/agent"
	"github.com/minikubelet/minikubelet/agent/check"
)

func checkCommand(g *global) *cobra.Command {
	return &cobra.Command{
		Use:   "check",
		Short: "Show what this machine offers and lacks for running Pods",
		Long: `check looks at the kernel, privileges, cgroups, file systems, network and limits
of this machine, and says of each lack what follows from it and what to do. It
changes nothing.

  OK    there
  WARN  Pods run, but lack something
  FAIL  Pods cannot run

The exit status is 0 when Pods can run, 1 when something essential is missing.`,
		Example: "  sudo minikubelet check\n  minikubelet check -o json | jq '.[] | select(.level != \"OK\")'",
		Args:    noArgs(""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := g.config(cmd)
			if err != nil {
				return err
			}
			results, err := agent.Check(cfg)
			if err != nil {
				return err
			}
			if g.json() {
				err = writeJSON(cmd.OutOrStdout(), results)
			} else {
				err = printCheck(cmd.OutOrStdout(), results)
			}
			if err == nil && !check.Usable(results) {
				return &exitError{status: 1}
			}
			return err
		},
	}
}

// printCheck writes one aligned line for each result; what a lack means and what
// to do about it follow below it.
func printCheck(out io.Writer, results []check.Result) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	count := map[check.Level]int{}
	for _, r := range results {
		count[r.Level]++
		fmt.Fprintf(w, "%s\t%s\t%s\n", r.Level, r.Name, r.Found)
		if r.Level != check.OK {
			fmt.Fprintf(w, "\t\t- so: %s\n\t\t- do: %s\n", r.Consequence, r.Remedy)
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	verdict := "Pods can run here"
	if !check.Usable(results) {
		verdict = "Pods cannot run here: see FAIL above"
	}
	_, err := fmt.Fprintf(out, "\n%s (%d OK, %d WARN, %d FAIL)\n", verdict, count[check.OK], count[check.Warn], count[check.Fail])
	return err
}
