// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/containerd/containerd/v2/core/sandbox"
)

// exitFile is what the shim writes into a task's bundle when the container's
// first process has ended, before it tells anyone; the file is complete or not
// there. See containerd's cmd/containerd-shim-runc-v2/runc.
const exitFile = "exit.json"

// Exit is how a container ended. Status is the exit code, or 128 and the number
// of the signal that killed it.
type Exit struct {
	PID    int       `json:"Pid"`
	Status int       `json:"Status"`
	At     time.Time `json:"Timestamp"`
}

// readExits returns the exits recorded in the bundles below
// tasks/<namespace>/<container ID>. What cannot be read counts as not recorded.
func readExits(tasks, namespace string) map[string]Exit {
	exits := make(map[string]Exit)
	bundles, err := os.ReadDir(filepath.Join(tasks, namespace))
	if err != nil {
		return exits
	}
	for _, b := range bundles {
		data, err := os.ReadFile(filepath.Join(tasks, namespace, b.Name(), exitFile))
		if err != nil {
			continue
		}
		var e Exit
		if json.Unmarshal(data, &e) == nil && e.PID > 0 && e.Status >= 0 && !e.At.IsZero() {
			exits[b.Name()] = e
		}
	}
	return exits
}

// exitKeeper is the sandbox store as the shim manager sees it. While containerd
// loads the shims it finds, it reaps each one whose task has no process and
// that has no sandbox record of the same ID: it takes it for one whose task was
// never created. That would also reap the containers that ended while the
// engine was down, or end just then, and lose their exit codes. So until all are
// loaded, there is a record for every ID; shims without a task are dropped
// afterwards (strays.drop), by asking them.
type exitKeeper struct {
	sandbox.Store
	loading atomic.Bool
}

// Get is Store.Get, except that while shims are loaded it finds every ID.
func (k *exitKeeper) Get(ctx context.Context, id string) (sandbox.Sandbox, error) {
	if k.loading.Load() {
		return sandbox.Sandbox{ID: id}, nil
	}
	return k.Store.Get(ctx, id)
}
