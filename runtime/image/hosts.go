// SPDX-License-Identifier: Apache-2.0

package image

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/containerd/v2/core/remotes/docker/config"
	"github.com/containerd/errdefs"
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
				return dir, err
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
