// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"
)

func kubeconfigCommand(g *global) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "kubeconfig",
		Short: "Print the kubeconfig of the node's API",
		Long: `kubeconfig prints the file by which kubectl and other clients reach the node's
API as its administrator. serve writes it, at each start. Who has it may do
everything with the node.`,
		Example: "  minikubelet kubeconfig >~/.kube/config\n  kubectl --kubeconfig <(minikubelet kubeconfig) get pods -A",
		Args:    noArgs(""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := g.config(cmd)
			if err != nil {
				return err
			}
			data, err := os.ReadFile(cfg.KubeconfigPath())
			switch {
			case errors.Is(err, fs.ErrNotExist):
				return fmt.Errorf("%w: start the daemon first: it writes the file", err)
			case errors.Is(err, fs.ErrPermission):
				return fmt.Errorf("%w: use sudo: who has it may do everything with the node", err)
			case err != nil:
				return err
			}
			if g.json() {
				if data, err = yaml.YAMLToJSON(data); err != nil {
					return err
				}
				data = append(data, '\n')
			}
			_, err = cmd.OutOrStdout().Write(data)
			return err
		},
	}
	cmd.Flags().StringVar(&g.flag.Kubeconfig, "kubeconfig", "", "the file, when serve was given another")
	return cmd
}
