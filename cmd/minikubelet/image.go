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
	cmd := &cobra.Command{
		Use: "image", Short: "Import, pull, list and remove images",
		Long: `image works on the node's images, those that its Pods find, with or without a
running agent. Pods that wait for an image go on as soon as it is there.`,
		Example: "  minikubelet image import app.tar\n  minikubelet image pull docker.io/library/busybox:1.36\n  minikubelet image ls",
	}
	cmd.AddCommand(imageImport(g), imagePull(g), imageList(g), imageRemove(g))
	return cmd
}

// withImages opens the node, or the agent that runs there, for work on its images.
func (g *global) withImages(cmd *cobra.Command, fn func(images agent.ImageStore, w *progress) error) (err error) {
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
	images, err := agent.OpenImages(ctx, cfg, g.logger(slog.LevelWarn))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, images.Close()) }()
	return fn(images, &progress{w: os.Stderr, terminal: term.IsTerminal(int(os.Stderr.Fd()))})
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
		Long: `import takes in archives as docker save, podman save, skopeo and buildkit write
them. An archive that names no image needs --name.`,
		Example: "  minikubelet image import app.tar\n  docker save app:v1 >app.tar && minikubelet image import app.tar",
		Args:    someArgs("an archive", "app.tar"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return g.withImages(cmd, func(images agent.ImageStore, p *progress) error {
				var all []image.Image
				for _, file := range args {
					list, err := images.Import(cmd.Context(), file, name, p.show(file))
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
		Long: `pull fetches images, over the mirrors of --registry-hosts and with the
credentials of --registry-auth, where there are any.`,
		Example: "  minikubelet image pull docker.io/library/busybox:1.36\n  minikubelet image pull localhost:5000/app:v1 --registry-auth ~/.docker/config.json",
		Args:    someArgs("an image", "docker.io/library/busybox:1.36"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return g.withImages(cmd, func(images agent.ImageStore, p *progress) error {
				var all []image.Image
				for _, ref := range args {
					img, err := images.Pull(cmd.Context(), ref, p.show(ref))
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
		Use:     "ls",
		Short:   "List the images of this node",
		Example: "  minikubelet image ls\n  minikubelet image ls -o json | jq -r '.[].Name'",
		Args:    noArgs(""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return g.withImages(cmd, func(images agent.ImageStore, _ *progress) error {
				list, err := images.List(cmd.Context())
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
		Long: `rm removes images by name, or by ID or digest with all their names. One that
containers were made from stays, unless --force is given: they keep running.`,
		Example: "  minikubelet image rm docker.io/library/busybox:1.36",
		Args:    someArgs("an image", "docker.io/library/busybox:1.36"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return g.withImages(cmd, func(images agent.ImageStore, _ *progress) error {
				var errs []error
				removed := []string{}
				for _, ref := range args {
					names, err := images.Remove(cmd.Context(), ref, force)
					if err == nil && len(names) == 0 {
						err = fmt.Errorf("image %s: not on this node", ref)
					}
					errs = append(errs, err)
					for _, name := range names {
						if !g.json() {
							fmt.Fprintln(cmd.OutOrStdout(), "removed", name)
						}
						removed = append(removed, name)
					}
				}
				if g.json() {
					errs = append(errs, writeJSON(cmd.OutOrStdout(), removed))
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
