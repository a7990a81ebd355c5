// SPDX-License-Identifier: Apache-2.0

package shim

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	bootapi "github.com/containerd/containerd/api/runtime/bootstrap/v1"
	"github.com/containerd/containerd/api/types"
	"github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2/manager"
	"github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2/process"
	"github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2/runc"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/pkg/shim"
	"golang.org/x/sys/unix"
)

// Runtime is the runtime's name in containerd, which finds the executable
// containerd-shim-minikubelet-v1 by it.
const Runtime = "io.containerd.minikubelet.v1"

// NewManager returns containerd's runc shim manager with a quicker Start and Stop.
func NewManager() shim.Shim { return stopper{manager.NewShimManager(Runtime)} }

type stopper struct{ shim.Shim }

// Start says that the shim makes none of the mounts that containerd can make.
// Unsaid, containerd starts this program and runc once more to ask.
func (s stopper) Start(ctx context.Context, params *bootapi.BootstrapParams) (*bootapi.BootstrapResult, error) {
	result, err := s.Shim.Start(ctx, params)
	if err != nil {
		return nil, err
	}
	if err := result.AddExtension(&types.MountCapabilities{}); err != nil {
		return nil, err
	}
	return result, nil
}

// Stop cleans up after a task whose shim connection has ended. Containerd calls
// it for every task, those that were deleted in good order included: these have
// an exit on record and nothing left in runc, and runc need not be started to
// say so.
func (s stopper) Stop(ctx context.Context, id string) (shim.StopStatus, error) {
	if status, ok := deleted(ctx, id); ok {
		return status, nil
	}
	if status, ok := neverCreated(id); ok {
		return status, nil
	}
	return s.Shim.Stop(ctx, id)
}

// deleted returns the exit of a task of which nothing is left but its bundle,
// in whose directory containerd starts this program.
func deleted(ctx context.Context, id string) (status shim.StopStatus, ok bool) {
	cwd, err := os.Getwd()
	if err != nil {
		return status, false
	}
	bundle := filepath.Join(filepath.Dir(cwd), id)
	state, err := stateDir(ctx, bundle, id)
	if err != nil {
		return status, false
	}
	if _, err := os.Lstat(state); !os.IsNotExist(err) {
		return status, false
	}
	exit, err := runc.ReadExitStatus(bundle)
	if err != nil {
		return status, false
	}
	if err := mount.UnmountRecursive(filepath.Join(bundle, "rootfs"), 0); err != nil {
		return status, false
	}
	return shim.StopStatus{Pid: exit.Pid, ExitStatus: exit.Status, ExitedAt: exit.Timestamp}, true
}

// neverCreated tells of a task that the shim was not asked to create: the agent
// died before. There is nothing to clean up then, and runc must not be started to
// do so: by now, the next agent may be making the container.
func neverCreated(id string) (status shim.StopStatus, ok bool) {
	cwd, err := os.Getwd()
	if err != nil {
		return status, false
	}
	// The first thing that the shim writes.
	if _, err := os.Lstat(filepath.Join(filepath.Dir(cwd), id, "options.json")); !os.IsNotExist(err) {
		return status, false
	}
	return shim.StopStatus{ExitStatus: killed, ExitedAt: time.Now()}, true
}

// killed is the exit status that containerd's own shim gives tasks of which it
// knows none.
const killed = 128 + int(unix.SIGKILL)

// stateDir returns the directory that runc has for a container from its creation
// to its deletion.
func stateDir(ctx context.Context, bundle, id string) (string, error) {
	namespace, err := namespaces.NamespaceRequired(ctx)
	if err != nil {
		return "", err
	}
	opts, err := runc.ReadOptions(bundle)
	if err != nil {
		return "", err
	}
	if opts == nil {
		return "", fmt.Errorf("task %s was not created", id)
	}
	root := opts.Root
	if root == "" {
		root = process.RuncRoot
	}
	return filepath.Join(root, namespace, id), nil
}
