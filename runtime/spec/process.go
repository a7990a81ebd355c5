// SPDX-License-Identifier: Apache-2.0

package spec

import (
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

const defaultPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// args composes the command line: command replaces entrypoint and cmd, args
// alone replace cmd.
func args(o Options) ([]string, error) {
	command, args := o.Command, o.Args
	if len(command) == 0 {
		command = o.Image.Entrypoint
		if len(args) == 0 {
			args = o.Image.Cmd
		}
	}
	out := append(append([]string{}, command...), args...)
	if len(out) == 0 {
		return nil, errors.New("no command specified: neither the container nor its image has one")
	}
	return out, nil
}

// env lays the container's variables over the image's, those over the
// defaults. A name keeps the place where it came first.
func env(o Options) []string {
	all := []string{defaultPath}
	if o.Hostname != "" {
		all = append(all, "HOSTNAME="+o.Hostname)
	}
	if o.TTY {
		all = append(all, "TERM=xterm")
	}
	all = append(all, o.Image.Env...)
	all = append(all, o.Env...)

	at := make(map[string]int, len(all))
	var out []string
	for _, e := range all {
		name, _, ok := strings.Cut(e, "=")
		if !ok || name == "" {
			continue
		}
		if i, ok := at[name]; ok {
			out[i] = e
			continue
		}
		at[name] = len(out)
		out = append(out, e)
	}
	return out
}

func workingDir(o Options) (string, error) {
	switch {
	case o.WorkingDir != "":
		if !path.IsAbs(o.WorkingDir) {
			return "", fmt.Errorf("workingDir: %q is not an absolute path", o.WorkingDir)
		}
		return o.WorkingDir, nil
	case o.Image.WorkingDir != "":
		return path.Join("/", o.Image.WorkingDir), nil
	}
	return "/", nil
}

func process(o Options, user specs.User) (*specs.Process, error) {
	argv, err := args(o)
	if err != nil {
		return nil, err
	}
	cwd, err := workingDir(o)
	if err != nil {
		return nil, err
	}
	profile, err := appArmorName(o.Security, o.Node)
	if err != nil {
		return nil, err
	}
	score := max(o.OOMScoreAdj, o.Node.OOMScoreAdjFloor)
	return &specs.Process{
		Terminal:        o.TTY,
		User:            user,
		Args:            argv,
		Env:             env(o),
		Cwd:             cwd,
		Capabilities:    capabilities(o.Security, o.Node),
		NoNewPrivileges: o.Security.NoNewPrivileges,
		ApparmorProfile: profile,
		OOMScoreAdj:     &score,
	}, nil
}
