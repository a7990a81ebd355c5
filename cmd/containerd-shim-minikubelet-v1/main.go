// SPDX-License-Identifier: Apache-2.0

// Containerd-shim-minikubelet-v1 holds the containers of one Pod: containerd's
// runc shim, and what package runtime/shim adds to it.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/minikubelet/minikubelet/runtime/shim"
)

func main() {
	if err := shim.Main(context.Background()); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", shim.Runtime, err)
		os.Exit(1)
	}
}
