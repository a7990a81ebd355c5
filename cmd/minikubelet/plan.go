// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/minikubelet/minikubelet/agent"
)

func planCommand(g *global) *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "plan -f FILE",
		Short: "Show what would become of a manifest, without running it",
		Long: `plan is a dry run. For each Pod of a manifest it shows the QoS class, the
effective requests and limits and how they come about, the cgroup values (v1 and
v2), what starts when, and what each container would be given: command, user,
capabilities, namespaces, mounts, resources. It makes nothing and needs neither
root nor a daemon. Images are not looked at: what the image decides is said so.

With -o json the complete OCI specifications are in the output.

The exit status is 0 when the Pods could run on this node, else 1.`,
		Example: "  minikubelet plan -f examples/init-demo.yaml\n  minikubelet plan -o json -f pod.yaml | jq '.[0].containers[0].spec'",
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
			pods, err := agent.Plan(cfg, objects)
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			if g.json() {
				if err := writeJSON(out, pods); err != nil {
					return err
				}
			} else {
				if os.Geteuid() != 0 {
					fmt.Fprint(out, "(shown as for root with all capabilities)\n\n")
				}
				for i := range pods {
					if i > 0 {
						fmt.Fprintln(out)
					}
					planText{out}.pod(&pods[i])
				}
			}
			for _, p := range pods {
				if p.Refused != nil || len(p.Problems) > 0 {
					return &exitError{status: 1}
				}
			}
			return nil
		},
	}
	manifestFlag(cmd, &file)
	return cmd
}

// writeJSON leaves < and > as they are, so that placeholders can be read.
func writeJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}
