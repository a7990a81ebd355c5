// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	task "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/pkg/shim"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/containerd/ttrpc"
)

// spareBench makes spares without an engine: what a killed agent leaves behind.
func spareBench(t *testing.T) (*spares, strays, context.Context) {
	b := newBench(t)
	if filepath.Base(b.Shim) != ShimName {
		t.Skip("needs minikubelet's shim on PATH (make build, then PATH=$PWD/bin:$PATH)")
	}
	cfg := Config{Root: b.Root, State: b.State, Namespace: "engine-test", Shim: b.Shim}
	left := strays{address: cfg.apiAddress(), tasks: filepath.Join(b.State, taskPlugin), socketDir: SocketDir(b.State), work: b.Root}
	s := newSpares(cfg, filepath.Join(left.tasks, cfg.Namespace), left.socketDir)
	s.timer.Stop()
	t.Cleanup(func() {
		for _, c := range left.calls() {
			left.kill(c)
		}
	})
	return s, left, namespaces.WithNamespace(t.Context(), cfg.Namespace)
}

func socketPath(address string) string {
	_, path, _ := strings.Cut(address, "unix://")
	return path
}

// answers asks the shim for a task that it does not have.
func answers(ctx context.Context, address string) bool {
	conn, err := shim.AnonDialer("unix://"+socketPath(address), strayPatience)
	if err != nil {
		return false
	}
	client := ttrpc.NewClient(conn)
	defer client.Close()
	_, err = task.NewTTRPCTaskClient(client).State(ctx, &task.StateRequest{ID: "none"})
	return errdefs.IsNotFound(errgrpc.ToNative(err))
}

// A spare that no sandbox was given ends with the agent, and its socket with it.
func TestSpareEndsWithTheAgent(t *testing.T) {
	s, _, ctx := spareBench(t)
	s.refill()
	one := s.next
	if !answers(ctx, one.address) {
		t.Fatal("the spare does not answer")
	}
	one.pipe.Close() // as the kernel does for an agent that was killed
	<-one.ended
	if _, err := os.Lstat(socketPath(one.address)); !os.IsNotExist(err) {
		t.Errorf("the spare's socket: %v", err)
	}
}

// A shim that does not understand what it is asked for is named, with its words, in the
// log and to whoever wants one.
func TestAShimOfAnotherVersionIsNamed(t *testing.T) {
	dir, err := os.MkdirTemp("", "mk") // short: socket paths are limited
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	old := filepath.Join(dir, "containerd-shim-old")
	if err := os.WriteFile(old, []byte("#!/bin/sh\necho 'flag provided but not defined: -spare' >&2\nexit 2\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	cfg := Config{Root: dir, State: dir, Namespace: "engine-test", Shim: old}
	s := newSpares(cfg, filepath.Join(dir, "bundles"), SocketDir(dir))
	s.timer.Stop()
	s.refill()
	address := s.next.address
	<-s.next.ended
	ctx := namespaces.WithNamespace(t.Context(), cfg.Namespace)
	_, err = s.take(ctx)
	s.timer.Stop()
	for _, want := range []string{old, "exit status 2", "flag provided but not defined: -spare", "install both from one build"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in: %v", want, err)
		}
	}
	if _, err := os.Lstat(socketPath(address)); !os.IsNotExist(err) {
		t.Errorf("its socket: %v", err)
	}
}

// What was given away goes on without the agent. The next one ends it unless a
// bundle names it.
func TestTakenSparesAreKnownByTheirBundles(t *testing.T) {
	s, left, ctx := spareBench(t)
	s.refill()
	ready := s.next.address
	first, err := s.take(ctx)
	if err != nil || !strings.HasSuffix(first, ready) {
		t.Fatalf("took %q, %v instead of the spare %q", first, err, ready)
	}
	second, err := s.take(ctx) // started at once
	if err != nil {
		t.Fatal(err)
	}
	s.timer.Stop()
	bundle := filepath.Join(s.bundles, "pod")
	if err := os.MkdirAll(bundle, 0o711); err != nil {
		t.Fatal(err)
	}
	protocol, address, _ := strings.Cut(first, "+")
	if err := os.WriteFile(filepath.Join(bundle, bootstrapFile), []byte(`{"version":3,"protocol":"`+protocol+`","address":"`+address+`"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if !answers(ctx, first) || !answers(ctx, second) {
		t.Fatal("shims that were given away do not answer")
	}
	if err := left.end(ctx); err != nil {
		t.Fatal(err)
	}
	if !answers(ctx, first) {
		t.Error("the shim of a bundle is gone")
	}
	if _, err := os.Lstat(socketPath(second)); !os.IsNotExist(err) {
		t.Errorf("the socket of a shim that no bundle knows: %v", err)
	}
	if calls := left.calls(); len(calls) != 1 {
		t.Errorf("shims that are left: %v, not one", calls)
	}
}

// An engine's end is its spare's.
func TestCloseEndsTheSpare(t *testing.T) {
	s, left, _ := spareBench(t)
	s.refill()
	if err := s.close(); err != nil {
		t.Fatal(err)
	}
	if calls := left.calls(); len(calls) != 0 {
		t.Errorf("shims that are left: %v", calls)
	}
	if s.refill(); s.next != nil || len(left.calls()) != 0 {
		t.Error("a spare after the end")
	}
}
