// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	goruntime "runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// version is set by the build, and runcVersion when a runc is built in.
var version, runcVersion = "development", ""

// versions are those of the program and of what it is made of.
type versions struct {
	Version    string `json:"version"`
	Kubernetes string `json:"kubernetes"`
	Containerd string `json:"containerd"`
	Runc       string `json:"runc,omitempty"` // empty: none is built in
	Go         string `json:"go"`
	Platform   string `json:"platform"`
}

func versionCommand(g *global) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the versions of the program and of its parts",
		Long: `version prints the versions of this program and of what is built in. A running
agent of another one goes on until it is restarted.`,
		Example: "  minikubelet version\n  minikubelet version -o json | jq -r .version",
		Args:    noArgs(""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			v := versions{Version: version, Runc: runcVersion, Go: goruntime.Version(), Platform: goruntime.GOOS + "/" + goruntime.GOARCH}
			if info, ok := debug.ReadBuildInfo(); ok {
				for _, m := range info.Deps {
					switch m.Path {
					case "k8s.io/kubernetes":
						v.Kubernetes = m.Version
					case "github.com/containerd/containerd/v2":
						v.Containerd = m.Version
					}
				}
			}
			if g.json() {
				return writeJSON(cmd.OutOrStdout(), v)
			}
			runc := v.Runc
			if runc == "" {
				runc = "not built in"
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "minikubelet %s\nKubernetes  %s\ncontainerd  %s\nrunc        %s\n%s %s\n",
				v.Version, v.Kubernetes, v.Containerd, runc, v.Go, v.Platform)
			return err
		},
	}
}
