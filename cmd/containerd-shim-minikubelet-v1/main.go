// SPDX-License-Identifier: Apache-2.0

// Containerd-shim-minikubelet-v1 holds the containers of one Pod: containerd's
// runc shim, and what package runtime/shim adds to it.
package main

import (
	"context"

	_ "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2/task/plugin" // the runc task service
	containerd "github.com/containerd/containerd/v2/pkg/shim"

	"github.com/minikubelet/minikubelet/runtime/shim"
)

func main() {
	shim.Register()
	containerd.RunShim(context.Background(), shim.NewManager())
}
