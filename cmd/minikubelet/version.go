// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	goruntime "runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// version is set by the build.
var version = "development"

// versions are those of the program and of what it is made of.
type versions struct {
	Version    string `json:"version"`
	Kubernetes string `json:"kubernetes"`
	Containerd string `json:"containerd"`
	Runc       string `json:"runc"`
	Go         string `json:"go"`
	Platform   string `json:"platform"`
}

func versionCommand(g *global) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the versions of the program and of its parts",
		Args:  noArgs(""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			v := versions{Version: version, Go: goruntime.Version(), Platform: goruntime.GOOS + "/" + goruntime.GOARCH}
			if info, ok := debug.ReadBuildInfo(); ok {
				for _, m := range info.Deps {
					switch m.Path {
					case "k8s.io/kubernetes":
						v.Kubernetes = m.Version
					case "github.com/containerd/containerd/v2":
						v.Containerd = m.Version
					case "github.com/opencontainers/runc":
						v.Runc = m.Version
					}
				}
			}
			if g.json() {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(v)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "minikubelet %s\nKubernetes  %s\ncontainerd  %s\n%s %s\n", v.Version, v.Kubernetes, v.Containerd, v.Go, v.Platform)
			return nil
		},
	}
}
