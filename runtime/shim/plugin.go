// SPDX-License-Identifier: Apache-2.0

package shim

import (
	"errors"

	"github.com/containerd/containerd/v2/pkg/shutdown"
	"github.com/containerd/containerd/v2/plugins"
	"github.com/containerd/go-runc"
	"github.com/containerd/plugin"
	"github.com/containerd/plugin/registry"
)

// Register adds the logs to the plugins of containerd's shim. It is called once
// by the program, before the shim runs.
func Register() {
	registry.Register(&plugin.Registration{
		// A type of our own, which comes after the task service: that sets the
		// process monitor that ours goes in front of.
		Type:     "io.minikubelet.shim.v1",
		ID:       "crilog",
		Requires: []plugin.Type{plugins.TTRPCPlugin, plugins.InternalPlugin},
		InitFn: func(ic *plugin.InitContext) (any, error) {
			service, err := ic.GetByID(plugins.InternalPlugin, "shutdown")
			if err != nil {
				return nil, err
			}
			sd, ok := service.(shutdown.Service)
			if !ok {
				return nil, errors.New("containerd's shim has another kind of shutdown service")
			}
			tune()
			l := newLogs()
			sd.RegisterCallback(l.closeAll)
			runc.Monitor = monitor{runc.Monitor, l}
			return l, nil
		},
	})
}
