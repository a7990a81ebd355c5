// SPDX-License-Identifier: Apache-2.0

package image

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/containerd/v2/core/remotes/docker/config"
	"github.com/containerd/errdefs"
	"github.com/pelletier/go-toml/v2"
)

// newResolver knows the hosts that serve a name: those of <hostsDir>/<registry>/hosts.toml, in containerd's format, or else
// the registry itself. Loopback hosts may speak plain HTTP (containerd tries TLS first, unless the port is 80).
func newResolver(ctx context.Context, name string, o PullOptions) (remotes.Resolver, error) {
	_, repository, _, _, err := parsed(name)
	if err != nil {
		return nil, err
	}
	options := config.HostOptions{}
	if o.HostsDir != "" {
		if _, err := os.Stat(o.HostsDir); err == nil {
			find := config.HostDirFromRoot(o.HostsDir)
			options.HostDir = func(host string) (string, error) {
				dir, err := find(host)
				if errdefs.IsNotFound(err) || errors.Is(err, fs.ErrNotExist) {
					return "", nil
				}
				if err != nil {
					return "", err
				}
				return dir, checkHosts(filepath.Join(dir, "hosts.toml"))
			}
		} else if !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("registry hosts directory: %w", err)
		}
	}
	if o.Credentials != nil {
		options.Credentials = func(host string) (string, string, error) {
			return o.Credentials(host, repository)
		}
	}
	return docker.NewResolver(docker.ResolverOptions{Hosts: config.ConfigureHosts(ctx, options)}), nil
}

// checkHosts refuses a hosts.toml that is no TOML. containerd only logs that and then asks the registry itself, which is not
// what somebody who set up a mirror wants.
func checkHosts(path string) error {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // a directory with certificates only
	}
	if err != nil {
		return fmt.Errorf("registry hosts: %w", err)
	}
	if err := toml.Unmarshal(data, &map[string]any{}); err != nil {
		var at *toml.DecodeError
		if errors.As(err, &at) {
			row, column := at.Position()
			return fmt.Errorf("%s: line %d, column %d: %w", path, row, column, err)
		}
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}
