// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	containerd "github.com/containerd/containerd/v2/client"
	runtimev2 "github.com/containerd/containerd/v2/core/runtime/v2"
	"github.com/containerd/containerd/v2/pkg/namespaces"
)

// DefaultNamespace is the containerd namespace used when none is configured.
const DefaultNamespace = "minikubelet"

// connectTimeout bounds how long Connect waits for an external containerd.
const connectTimeout = 10 * time.Second

// ErrShimUnknown says that this engine cannot see shims: the containerd is
// another process. Wait for the sandbox's own Create instead.
var ErrShimUnknown = errors.New("an external containerd does not tell which shims run")

// Engine is a containerd to run containers with. Its methods may be called
// concurrently; after Close only Namespace and Context may.
type Engine struct {
	client    *containerd.Client
	namespace string
	shims     *runtimev2.ShimManager // nil with an external containerd
	exits     map[string]Exit        // found in the bundles before start
	bundles   string                 // directory of this namespace's bundles, "" with an external containerd
	batcher   *batcher               // nil with an external containerd
	spares    *spares                // nil when containerd starts the shims
	stop      func() error
}

// Connect uses the containerd that listens at address, the path of a unix
// socket. It returns once the daemon has answered, and with an error at once when
// there is no socket, or after ten seconds when nobody answers.
func Connect(ctx context.Context, address, namespace string, log *slog.Logger) (*Engine, error) {
	if namespace == "" {
		namespace = DefaultNamespace
	}
	RouteLogs(log)
	if _, err := os.Stat(strings.TrimPrefix(address, "unix://")); err != nil {
		return nil, fmt.Errorf("containerd address: %w (is containerd running?)", err)
	}
	client, err := containerd.New(address,
		containerd.WithDefaultNamespace(namespace), containerd.WithTimeout(connectTimeout))
	if err != nil {
		return nil, fmt.Errorf("connect to containerd at %s: %w", address, err)
	}
	vctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	if _, err := client.Version(vctx); err != nil {
		_ = client.Close()
		return nil, fmt.Errorf("containerd at %s does not answer: %w", address, err)
	}
	return &Engine{client: client, namespace: namespace, stop: client.Close}, nil
}

// Client is the containerd client. Every context given to it must come from
// Context: the in-memory services know no default namespace.
func (e *Engine) Client() *containerd.Client { return e.client }

// Namespace is the containerd namespace that this engine's objects are in.
func (e *Engine) Namespace() string { return e.namespace }

// Context returns ctx with the engine's containerd namespace in it.
func (e *Engine) Context(ctx context.Context) context.Context {
	return namespaces.WithNamespace(ctx, e.namespace)
}

// KeepsExits tells whether a container that ended while the engine was down is
// still there as a stopped task, with its exit code, after the next start. The
// embedded engine does that by itself. An external containerd reaps such tasks
// when it starts unless there is a sandbox record of the container's own ID: so
// where KeepsExits is false, whoever creates a container also creates such a
// record, and deletes it with the container.
func (e *Engine) KeepsExits() bool { return e.shims != nil }

// RecordedExit returns what the shim had written down about the end of
// container id when the embedded engine started. It is the last resort for a
// container whose task is gone because its shim died as well; a task that is
// still there says the same itself.
func (e *Engine) RecordedExit(id string) (Exit, bool) {
	exit, ok := e.exits[id]
	return exit, ok
}

// Batch has all that fn writes to containerd's metadata with its context, which
// carries the namespace, be one transaction: container and sandbox records and
// snapshots, on disk when Batch returns, or not at all. fn must do nothing that
// takes long, reads what it writes with its context as well, and may be called a
// second time. With an external containerd, where each write is a transaction of
// its own, Batch just calls it.
func (e *Engine) Batch(ctx context.Context, fn func(ctx context.Context) error) error {
	if e.batcher == nil {
		return fn(ctx)
	}
	return e.batcher.do(ctx, fn)
}

// startFile is the shim's mark in the bundle of a task whose start was asked for;
// package shim has it as StartFile.
const startFile = "start"

// NeverStarted tells whether it is certain that the start of a task that is there
// was never asked for. With an external containerd nothing is certain.
func (e *Engine) NeverStarted(id string) bool {
	if e.bundles == "" {
		return false
	}
	if _, err := os.Lstat(filepath.Join(e.bundles, id)); err != nil {
		return false
	}
	_, err := os.Lstat(filepath.Join(e.bundles, id, startFile))
	return errors.Is(err, os.ErrNotExist)
}

// SandboxShimReady tells whether the shim that was started for task id is up,
// so that other containers can join it. It is true some time before the task's
// own creation returns. With an external containerd it is always false.
func (e *Engine) SandboxShimReady(ctx context.Context, id string) bool {
	if e.shims == nil {
		return false
	}
	_, err := e.shims.Get(e.Context(ctx), id)
	return err == nil
}

// shimPoll is how often WaitSandboxShim looks. A shim needs 10 to 20 ms to
// start and containerd has no event for it.
const shimPoll = 500 * time.Microsecond

// WaitSandboxShim returns nil as soon as SandboxShimReady is true, ctx's error
// when ctx ends before, and ErrShimUnknown at once with an external containerd.
// The caller cancels ctx when the creation of the sandbox's task has failed.
func (e *Engine) WaitSandboxShim(ctx context.Context, id string) error {
	if e.shims == nil {
		return ErrShimUnknown
	}
	tick := time.NewTicker(shimPoll)
	defer tick.Stop()
	for !e.SandboxShimReady(ctx, id) {
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for the shim of sandbox %s: %w", id, context.Cause(ctx))
		case <-tick.C:
		}
	}
	return nil
}

// Close stops the embedded containerd, or hangs up on the external one. Shims
// and containers go on running in both cases. Close is to be called once, when
// nothing uses the client any more.
//
// The connections to shims are not cut, since containerd takes a cut connection
// for a dead shim and kills what is left of its containers; they end with the
// process, or with the shim.
func (e *Engine) Close() error { return errors.Join(e.EndSpare(), e.stop()) }
