// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"fmt"

	"github.com/containerd/containerd/v2/core/events/exchange"
	"github.com/containerd/containerd/v2/core/metadata"
	runtimev2 "github.com/containerd/containerd/v2/core/runtime/v2"
	"github.com/containerd/containerd/v2/plugins"
	"github.com/containerd/plugin"

	// The plugins of an embedded containerd register themselves. There is no CRI
	// and no gRPC service: the client calls the services in memory.
	_ "github.com/containerd/containerd/api/types/runc/options"
	_ "github.com/containerd/containerd/v2/plugins/content/local/plugin"
	_ "github.com/containerd/containerd/v2/plugins/diff/walking/plugin"
	_ "github.com/containerd/containerd/v2/plugins/events"
	_ "github.com/containerd/containerd/v2/plugins/gc"
	_ "github.com/containerd/containerd/v2/plugins/leases"
	_ "github.com/containerd/containerd/v2/plugins/metadata"
	_ "github.com/containerd/containerd/v2/plugins/mount"
	_ "github.com/containerd/containerd/v2/plugins/services/containers"
	_ "github.com/containerd/containerd/v2/plugins/services/content"
	_ "github.com/containerd/containerd/v2/plugins/services/diff"
	_ "github.com/containerd/containerd/v2/plugins/services/events"
	_ "github.com/containerd/containerd/v2/plugins/services/images"
	_ "github.com/containerd/containerd/v2/plugins/services/introspection"
	_ "github.com/containerd/containerd/v2/plugins/services/namespaces"
	_ "github.com/containerd/containerd/v2/plugins/services/sandbox"
	_ "github.com/containerd/containerd/v2/plugins/services/snapshots"
	_ "github.com/containerd/containerd/v2/plugins/services/tasks"
	_ "github.com/containerd/containerd/v2/plugins/services/warning"
	_ "github.com/containerd/containerd/v2/plugins/snapshots/overlay/plugin"
	_ "github.com/containerd/containerd/v2/plugins/transfer"
)

const (
	taskPlugin = "io.containerd.runtime.v2.task"
	// mountManager stays hidden from taskPlugin: it makes mounts that neither shim
	// nor runtime can make, of which there are none here, and it would run the shim
	// with -info to ask which those are.
	mountManager       = "io.containerd.mount-manager.v1.bolt"
	shimManager        = "io.containerd.shim.v1.manager"
	shimManagerID      = "manager"
	overlayName        = "overlayfs"
	overlaySnapshotter = "io.containerd.snapshotter.v1." + overlayName
	gcScheduler        = "io.containerd.gc.v1.scheduler"
)

// wanted tells whether the plugin belongs to an embedded engine. Anything else
// that a package of the same program happens to register stays out: a shim's
// plugins, for example, are in the same registry.
func wanted(uri string) bool {
	switch uri {
	case "io.containerd.event.v1.exchange",
		"io.containerd.content.v1.content",
		overlaySnapshotter,
		"io.containerd.metadata.v1.bolt",
		"io.containerd.differ.v1.walking",
		gcScheduler,
		"io.containerd.lease.v1.manager",
		mountManager,
		"io.containerd.sandbox.store.v1.local",
		"io.containerd.transfer.v1.local",
		"io.containerd.warning.v1.deprecations",
		shimManager,
		taskPlugin,
		"io.containerd.grpc.v1.events", // serves the shims' ttrpc socket
		"io.containerd.service.v1.containers-service",
		"io.containerd.service.v1.content-service",
		"io.containerd.service.v1.diff-service",
		"io.containerd.service.v1.images-service",
		"io.containerd.service.v1.introspection-service",
		"io.containerd.service.v1.namespaces-service",
		"io.containerd.service.v1.snapshots-service",
		"io.containerd.service.v1.tasks-service":
		return true
	}
	return false
}

// newShimManager makes containerd's shim manager with this engine's values and
// with the exit keeper in front of the sandbox store.
func (s *pluginSet) newShimManager(ic *plugin.InitContext) (any, error) {
	m, err := ic.GetSingle(plugins.MetadataPlugin)
	if err != nil {
		return nil, err
	}
	ep, err := ic.GetByID(plugins.EventPlugin, "exchange")
	if err != nil {
		return nil, err
	}
	db, ok := m.(*metadata.DB)
	if !ok {
		return nil, fmt.Errorf("metadata plugin is a %T", m)
	}
	events, ok := ep.(*exchange.Exchange)
	if !ok {
		return nil, fmt.Errorf("event plugin is a %T", ep)
	}
	s.keeper.Store = metadata.NewSandboxStore(db)
	return runtimev2.NewShimManager(&runtimev2.ManagerConfig{
		Address:      ic.Properties[plugins.PropertyGRPCAddress],
		TTRPCAddress: ic.Properties[plugins.PropertyTTRPCAddress],
		SocketDir:    s.socketDir,
		Events:       events,
		Store:        metadata.NewContainerStore(db),
		ShimEnv:      s.cfg.ShimEnv,
		SandboxStore: s.keeper,
	})
}
