// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"
	"k8s.io/apimachinery/pkg/util/duration"

	"github.com/minikubelet/minikubelet/agent"
	"github.com/minikubelet/minikubelet/runtime/image"
)

func imageCommand(g *global) *cobra.Command {
	cmd := &cobra.Command{Use: "image", Short: "Import, pull, list and remove images"}
	cmd.AddCommand(imageImport(g), imagePull(g), imageList(g), imageRemove(g))
	return cmd
}

// withImages opens the node for work on its images.
func (g *global) withImages(cmd *cobra.Command, fn func(a *agent.Agent, w *progress) error) (err error) {
	cfg, err := g.config(cmd)
	if err != nil {
		return err
	}
	if err := needRoot(); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT)
	defer stop()
	cmd.SetContext(ctx)
	a, err := agent.OpenImages(ctx, cfg, g.logger(slog.LevelWarn))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.Close()) }()
	return fn(a, &progress{w: os.Stderr, terminal: term.IsTerminal(int(os.Stderr.Fd()))})
}

// progress is a moving line on a terminal and nothing elsewhere.
type progress struct {
	w        io.Writer
	terminal bool
}

func (p *progress) show(what string) func(image.Progress) {
	return func(at image.Progress) {
		switch {
		case !p.terminal:
		case at.Done:
			fmt.Fprint(p.w, "\r\x1b[K")
		default:
			fmt.Fprint(p.w, "\r\x1b[K"+agent.Bar(what, at))
		}
	}
}

func imageImport(g *global) *cobra.Command {
	var name string
	cmd := &cobra.Command{
		Use:   "import FILE...",
		Short: "Import image archives (OCI or docker, plain, gzip or zstd)",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return g.withImages(cmd, func(a *agent.Agent, p *progress) error {
				var all []image.Image
				for _, file := range args {
					list, err := a.Images().ImportFile(cmd.Context(), file, image.ImportOptions{Name: name, Progress: p.show(file)})
					if err != nil {
						return err
					}
					all = append(all, list...)
				}
				return g.printImages(cmd, all)
			})
		},
	}
	cmd.Flags().StringVar(&name, "name", "", "name of the image, for an archive without one")
	return cmd
}

func imagePull(g *global) *cobra.Command {
	return &cobra.Command{
		Use:   "pull IMAGE...",
		Short: "Pull images from their registries",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return g.withImages(cmd, func(a *agent.Agent, p *progress) error {
				var all []image.Image
				for _, ref := range args {
					img, err := a.Pull(cmd.Context(), ref, p.show(ref))
					if err != nil {
						return err
					}
					all = append(all, img)
				}
				return g.printImages(cmd, all)
			})
		},
	}
}

func imageList(g *global) *cobra.Command {
	return &cobra.Command{
		Use:   "ls",
		Short: "List the images of this node",
		Args:  noArgs(""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return g.withImages(cmd, func(a *agent.Agent, _ *progress) error {
				list, err := a.Images().List(cmd.Context())
				if err != nil {
					return err
				}
				return g.printImages(cmd, list)
			})
		},
	}
}

func imageRemove(g *global) *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:   "rm IMAGE...",
		Short: "Remove images",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return g.withImages(cmd, func(a *agent.Agent, _ *progress) error {
				var errs []error
				for _, ref := range args {
					names, err := a.Images().Remove(cmd.Context(), ref, force)
					if err == nil && len(names) == 0 {
						err = fmt.Errorf("image %s: not on this node", ref)
					}
					errs = append(errs, err)
					for _, name := range names {
						fmt.Fprintln(cmd.OutOrStdout(), "removed", name)
					}
				}
				return errors.Join(errs...)
			})
		},
	}
	cmd.Flags().BoolVar(&force, "force", false, "remove even what containers use")
	return cmd
}

func (g *global) printImages(cmd *cobra.Command, list []image.Image) error {
	if g.json() {
		if list == nil {
			list = []image.Image{}
		}
		enc := json.NewEncoder(cmd.OutOrStdout())
		enc.SetIndent("", "  ")
		return enc.Encode(list)
	}
	w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "IMAGE\tID\tSIZE\tAGE\tPROBLEM")
	for _, img := range list {
		id := img.ID.Encoded()
		fmt.Fprintf(w, "%s\t%.12s\t%s\t%s\t%s\n", img.Name, id, agent.Bytes(img.Size), duration.HumanDuration(time.Since(img.CreatedAt)), img.Problem)
	}
	return w.Flush()
}
