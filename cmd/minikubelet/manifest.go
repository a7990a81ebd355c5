// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"

	"github.com/minikubelet/minikubelet/agent"
	"github.com/minikubelet/minikubelet/api"
)

// manifestFlag adds the flag -f. That it is given is checked by loadManifest,
// whose message helps more than cobra's.
func manifestFlag(cmd *cobra.Command, file *string) {
	cmd.Flags().StringVarP(file, "file", "f", "", "Pod manifest, YAML or JSON; - for standard input")
}

// nodeName is the name that the node will have.
func nodeName(cfg agent.Config) string {
	if cfg.NodeName != "" {
		return cfg.NodeName
	}
	name, _ := os.Hostname()
	return strings.ToLower(name)
}

// loadManifest reads and checks a manifest; warnings go to stderr, and all errors
// are told at once.
func loadManifest(file string, stdin io.Reader, stderr io.Writer, node string) ([]api.Object, error) {
	r, name := stdin, "standard input"
	if file != "-" {
		f, err := openManifest(file)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		r, name = f, file
	}
	m := api.Load(name, r, node)
	for _, w := range m.Warnings {
		fmt.Fprintln(stderr, "warning:", w.Error())
	}
	if len(m.Problems) == 0 && len(podsOf(m.Objects)) == 0 {
		return nil, fmt.Errorf("%s: no Pod in it", name)
	}
	var errs []error
	for _, p := range m.Problems {
		errs = append(errs, p)
	}
	return m.Objects, errors.Join(errs...)
}

// openManifest opens a file, and says of what is none what to name instead.
func openManifest(file string) (*os.File, error) {
	if file == "" {
		return nil, errors.New("which manifest? Name it with -f pod.yaml, or -f - for standard input")
	}
	info, err := os.Stat(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if dir, _ := os.Getwd(); !filepath.IsAbs(file) {
			return nil, fmt.Errorf("%s: there is no such file in %s", file, dir)
		}
		return nil, fmt.Errorf("%s: there is no such file", file)
	case err != nil:
		return nil, fmt.Errorf("manifest: %w", err)
	case info.IsDir():
		return nil, fmt.Errorf("%s is a directory: name one file in it, or have all of them run with: minikubelet serve --manifests %s", file, file)
	}
	return os.Open(file)
}

func podsOf(objects []api.Object) []*corev1.Pod {
	var pods []*corev1.Pod
	for _, o := range objects {
		if o.Pod != nil {
			pods = append(pods, o.Pod)
		}
	}
	return pods
}

// othersOf are the objects that Pods use.
func othersOf(objects []api.Object) []api.Object {
	return slices.DeleteFunc(slices.Clone(objects), func(o api.Object) bool { return o.Pod != nil })
}
