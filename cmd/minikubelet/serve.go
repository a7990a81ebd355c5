// SPDX-License-Identifier: Apache-2.0

package main

import (
	"log/slog"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/minikubelet/minikubelet/agent"
	"github.com/minikubelet/minikubelet/agent/systemd"
)

func serveCommand(g *global) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Keep the Pods of the manifest directory running",
		Long: `serve runs the node. Every *.yaml, *.yml and *.json file in the manifest
directory is a manifest: added, changed and removed files take effect at once.
The Kubernetes API is served on loopback; the kubeconfig file is for kubectl.

SIGTERM and SIGINT stop the agent and leave the Pods running; the next agent
takes them over. "minikubelet stop --pods" ends them too, and so does a machine
that systemd takes down.`,
		Example: "  minikubelet serve\n  minikubelet serve --manifests ./pods --listen 127.0.0.1:7443",
		Args:    noArgs(""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := g.config(cmd)
			if err != nil {
				return err
			}
			cfg.Version = version
			if err := needRoot(); err != nil {
				return err
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT)
			defer stop()
			return agent.Serve(ctx, cfg, g.logger(slog.LevelInfo), systemd.FromEnvironment())
		},
	}
	cmd.Flags().StringVar(&g.flag.Listen, "listen", "", "address of the Kubernetes API, or none (default 127.0.0.1:6443, or another port if that is taken)")
	cmd.Flags().BoolVar(&g.flag.ListenPods, "listen-pods", false, "let Pods reach the Kubernetes API, and mount tokens into them")
	cmd.Flags().StringVar(&g.flag.TokenAuthFile, "token-auth-file", "", "users of the API with static tokens: lines of token,name,uid,\"group,group\"")
	cmd.Flags().StringVar(&g.flag.Kubeconfig, "kubeconfig", "", "where to write the API's kubeconfig (default /etc/minikubelet/kubeconfig, or kubeconfig in another data directory)")
	cmd.Flags().StringVar(&g.flag.Manifests, "manifests", g.flag.Manifests, "directory of manifests")
	return cmd
}
