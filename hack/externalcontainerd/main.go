// SPDX-License-Identifier: Apache-2.0

// Command externalcontainerd is a containerd daemon of its own, for tests of an
// agent that uses one (--containerd-address). It has containerd's own plugins and
// services, of the version in go.mod, as far as an agent needs them: no CRI, no
// tracing, and none of the modules that these would bring. The real daemon takes
// its place everywhere else.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/containerd/containerd/v2/plugins"
	"github.com/containerd/log"
	"github.com/containerd/plugin"
	"github.com/containerd/plugin/registry"
	"github.com/containerd/ttrpc"
	"google.golang.org/grpc"

	_ "github.com/containerd/containerd/api/types/runc/options"
	_ "github.com/containerd/containerd/v2/core/runtime/v2"
	_ "github.com/containerd/containerd/v2/plugins/content/local/plugin"
	_ "github.com/containerd/containerd/v2/plugins/diff/walking/plugin"
	_ "github.com/containerd/containerd/v2/plugins/events"
	_ "github.com/containerd/containerd/v2/plugins/gc"
	_ "github.com/containerd/containerd/v2/plugins/leases"
	_ "github.com/containerd/containerd/v2/plugins/metadata"
	_ "github.com/containerd/containerd/v2/plugins/mount"
	_ "github.com/containerd/containerd/v2/plugins/sandbox"
	_ "github.com/containerd/containerd/v2/plugins/services/containers"
	_ "github.com/containerd/containerd/v2/plugins/services/content"
	_ "github.com/containerd/containerd/v2/plugins/services/diff"
	_ "github.com/containerd/containerd/v2/plugins/services/events"
	_ "github.com/containerd/containerd/v2/plugins/services/images"
	_ "github.com/containerd/containerd/v2/plugins/services/introspection"
	_ "github.com/containerd/containerd/v2/plugins/services/leases"
	_ "github.com/containerd/containerd/v2/plugins/services/namespaces"
	_ "github.com/containerd/containerd/v2/plugins/services/sandbox"
	_ "github.com/containerd/containerd/v2/plugins/services/snapshots"
	_ "github.com/containerd/containerd/v2/plugins/services/tasks"
	_ "github.com/containerd/containerd/v2/plugins/services/version"
	_ "github.com/containerd/containerd/v2/plugins/services/warning"
	_ "github.com/containerd/containerd/v2/plugins/snapshots/overlay/plugin"
	_ "github.com/containerd/containerd/v2/plugins/transfer"
)

// daemon is where the containerd keeps its things and listens.
type daemon struct{ root, state, address string }

func main() {
	var d daemon
	flag.StringVar(&d.root, "root", "", "directory that survives a reboot")
	flag.StringVar(&d.state, "state", "", "directory that does not")
	flag.StringVar(&d.address, "address", "", "socket to listen at")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := d.run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "externalcontainerd:", err)
		os.Exit(1)
	}
}

func (d daemon) run(ctx context.Context) error {
	for _, dir := range []string{d.root, d.state} {
		if err := os.MkdirAll(dir, 0o711); err != nil {
			return err
		}
	}
	api := grpc.NewServer()
	events, err := ttrpc.NewServer(ttrpc.WithServerHandshaker(ttrpc.UnixSocketRequireSameUser()))
	if err != nil {
		return err
	}
	eventsAt, err := listen(d.address + ".ttrpc")
	if err != nil {
		return err
	}
	if err := d.plugins(ctx, api, events); err != nil {
		return err
	}
	apiAt, err := listen(d.address)
	if err != nil {
		return err
	}
	failed := make(chan error, 2)
	go func() { failed <- events.Serve(context.WithoutCancel(ctx), eventsAt) }()
	go func() { failed <- api.Serve(apiAt) }()
	select {
	case <-ctx.Done():
		return nil // shims take a closed connection for a crash; the end of the process does no more
	case err := <-failed:
		return err
	}
}

// plugins starts all plugins, and registers those that are services. As in
// containerd, one that fails is left out.
func (d daemon) plugins(ctx context.Context, api *grpc.Server, events *ttrpc.Server) error {
	loaded := plugin.NewPluginSet()
	for _, r := range registry.Graph(func(*plugin.Registration) bool { return false }) {
		ic := plugin.NewContext(ctx, loaded, map[string]string{
			plugins.PropertyRootDir:      filepath.Join(d.root, r.URI()),
			plugins.PropertyStateDir:     filepath.Join(d.state, r.URI()),
			plugins.PropertyGRPCAddress:  d.address,
			plugins.PropertyTTRPCAddress: d.address + ".ttrpc",
		})
		ic.Config = r.Config
		ic.RegisterReadiness = func() func() { return func() {} }
		p := r.Init(ic)
		if err := loaded.Add(p); err != nil {
			return err
		}
		instance, err := p.Instance()
		if err != nil {
			log.G(ctx).WithError(err).Warnf("plugin %s left out", r.URI())
			continue
		}
		if s, ok := instance.(interface{ Register(*grpc.Server) error }); ok {
			err = s.Register(api)
		}
		if s, ok := instance.(interface{ RegisterTTRPC(*ttrpc.Server) error }); ok {
			err = errors.Join(err, s.RegisterTTRPC(events))
		}
		if err != nil {
			return fmt.Errorf("plugin %s: %w", r.URI(), err)
		}
	}
	return nil
}

// listen makes a socket, in place of one that a killed daemon left.
func listen(path string) (net.Listener, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	return net.Listen("unix", path)
}
