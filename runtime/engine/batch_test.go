// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	"google.golang.org/protobuf/types/known/anypb"
)

// base makes a snapshot for others to be based on.
func base(t *testing.T, e *Engine) {
	t.Helper()
	ctx, s := e.Context(t.Context()), e.Client().SnapshotService(overlayName)
	if _, err := s.Prepare(ctx, "base-active", ""); err != nil {
		t.Fatal(err)
	}
	label := snapshots.WithLabels(map[string]string{"containerd.io/gc.root": "now"})
	if err := s.Commit(ctx, "base", "base-active", label); err != nil {
		t.Fatal(err)
	}
}

// write is what is written for a container.
func write(ctx context.Context, e *Engine, id string) error {
	_, err := e.Client().ContainerService().Create(ctx, containers.Container{
		ID: id, Runtime: containers.RuntimeInfo{Name: "test"}, Snapshotter: overlayName, SnapshotKey: id,
		Spec: &anypb.Any{TypeUrl: "test"},
	})
	if err != nil {
		return err
	}
	_, err = e.Client().SnapshotService(overlayName).Prepare(ctx, id, "base")
	return err
}

// erase removes what write wrote.
func erase(ctx context.Context, e *Engine, id string) error {
	if err := e.Client().SnapshotService(overlayName).Remove(ctx, id); err != nil {
		return err
	}
	return e.Client().ContainerService().Delete(ctx, id)
}

// there tells whether there are a container's record and its snapshot.
func there(t *testing.T, e *Engine, id string) (record, snapshot bool) {
	t.Helper()
	ctx := e.Context(t.Context())
	_, err := e.Client().ContainerService().Get(ctx, id)
	if err != nil && !errdefs.IsNotFound(err) {
		t.Error(err)
	}
	_, stat := e.Client().SnapshotService(overlayName).Stat(ctx, id)
	if stat != nil && !errdefs.IsNotFound(stat) {
		t.Error(stat)
	}
	return err == nil, stat == nil
}

func directories(t *testing.T, cfg Config) int {
	t.Helper()
	list, err := os.ReadDir(filepath.Join(cfg.Root, overlaySnapshotter, "snapshots"))
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

func TestBatchAllOrNothing(t *testing.T) {
	cfg := tempConfig(t)
	e := openEngine(t, cfg)
	base(t, e)
	ctx := e.Context(t.Context())
	failure := errors.New("no")
	for range 2 { // what the first time leaves is not in the way of the second
		err := e.Batch(ctx, func(ctx context.Context) error {
			if err := write(ctx, e, "a"); err != nil {
				return err
			}
			return failure
		})
		if !errors.Is(err, failure) {
			t.Fatal(err)
		}
		if record, snapshot := there(t, e, "a"); record || snapshot {
			t.Errorf("after a batch that failed: record %v, snapshot %v", record, snapshot)
		}
	}
	if err := e.Batch(ctx, func(ctx context.Context) error { return write(ctx, e, "a") }); err != nil {
		t.Fatal(err)
	}
	if record, snapshot := there(t, e, "a"); !record || !snapshot {
		t.Errorf("after a batch: record %v, snapshot %v", record, snapshot)
	}
}

// TestBatchesTogether: batches that share a transaction fail each for itself.
func TestBatchesTogether(t *testing.T) {
	cfg := tempConfig(t)
	e := openEngine(t, cfg)
	base(t, e)
	ctx := e.Context(t.Context())
	const count = 10
	var group sync.WaitGroup
	entered, proceed := make(chan struct{}), make(chan struct{})
	group.Go(func() {
		_ = e.Batch(ctx, func(context.Context) error { close(entered); <-proceed; return nil })
	})
	<-entered
	errs := make([]error, count)
	for i := range count {
		group.Go(func() {
			errs[i] = e.Batch(ctx, func(ctx context.Context) error {
				if err := write(ctx, e, fmt.Sprint("c", i)); err != nil {
					return err
				}
				if i%4 == 3 {
					return errors.New("no")
				}
				return nil
			})
		})
	}
	for waiting := 0; waiting < count; time.Sleep(time.Millisecond) {
		e.batcher.mu.Lock()
		waiting = len(e.batcher.waiting)
		e.batcher.mu.Unlock()
	}
	close(proceed)
	group.Wait()
	for i, err := range errs {
		record, snapshot := there(t, e, fmt.Sprint("c", i))
		if wanted := i%4 != 3; (err == nil) != wanted || record != wanted || snapshot != wanted {
			t.Errorf("%d: error %v, record %v, snapshot %v", i, err, record, snapshot)
		}
	}
}

// TestBatchKilled: an engine that is killed between the snapshotter's transaction and containerd's leaves a snapshot that neither
// stays on disk nor stands in the way of the same container.
func TestBatchKilled(t *testing.T) {
	cfg := tempConfig(t)
	e := openEngine(t, cfg)
	base(t, e)
	e.batcher.discard = func(context.Context, []string) {}
	err := e.Batch(e.Context(t.Context()), func(ctx context.Context) error {
		if err := write(ctx, e, "a"); err != nil {
			return err
		}
		return errors.New("killed")
	})
	if err == nil {
		t.Fatal("the transaction took place")
	}
	if n := directories(t, cfg); n != 2 {
		t.Fatalf("%d directories, want those of base and a", n)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	e = openEngine(t, cfg)
	awaitDirectories(t, cfg, 1)
	if err := e.Batch(e.Context(t.Context()), func(ctx context.Context) error { return write(ctx, e, "a") }); err != nil {
		t.Fatal(err)
	}
}

func awaitDirectories(t *testing.T, cfg Config, want int) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); directories(t, cfg) != want; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d directories of snapshots, want %d", directories(t, cfg), want)
		}
	}
}

// TestDiskSpace is given back without being asked for, and at the latest when the engine ends.
func TestDiskSpace(t *testing.T) {
	cfg := tempConfig(t)
	e := openEngine(t, cfg)
	base(t, e)
	ctx := e.Context(t.Context())
	for _, id := range []string{"a", "b"} {
		if err := e.Batch(ctx, func(ctx context.Context) error { return write(ctx, e, id) }); err != nil {
			t.Fatal(err)
		}
		if n := directories(t, cfg); n != 2 {
			t.Fatalf("%d directories of snapshots, want 2", n)
		}
		if err := e.Batch(ctx, func(ctx context.Context) error { return erase(ctx, e, id) }); err != nil {
			t.Fatal(err)
		}
		if id == "a" {
			awaitDirectories(t, cfg, 1)
		}
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if n := directories(t, cfg); n != 1 {
		t.Errorf("%d directories of snapshots after the end, want 1", n)
	}
}

// TestBatchLocks has batches, single writes to snapshots and the garbage collector meet: they take the same locks in different orders.
func TestBatchLocks(t *testing.T) {
	cfg := tempConfig(t)
	e := openEngine(t, cfg)
	base(t, e)
	ctx := e.Context(t.Context())
	const rounds = 20
	var group sync.WaitGroup
	done := make(chan struct{})
	try := func(what string, fn func(round int) error) {
		group.Go(func() {
			for round := range rounds {
				if err := fn(round); err != nil {
					t.Errorf("%s: %v", what, err)
				}
			}
		})
	}
	for worker := range 3 {
		try("batch", func(round int) error {
			id := fmt.Sprint("batch-", worker, "-", round)
			if err := e.Batch(ctx, func(ctx context.Context) error { return write(ctx, e, id) }); err != nil {
				return err
			}
			return e.Batch(ctx, func(ctx context.Context) error { return erase(ctx, e, id) })
		})
		try("snapshot", func(round int) error {
			s, id := e.Client().SnapshotService(overlayName), fmt.Sprint("single-", worker, "-", round)
			if _, err := s.Prepare(ctx, id, "base", snapshots.WithLabels(map[string]string{"containerd.io/gc.root": "now"})); err != nil {
				return err
			}
			return s.Remove(ctx, id)
		})
	}
	try("collection", func(int) error {
		lease, err := e.Client().LeasesService().Create(ctx, leases.WithRandomID())
		if err != nil {
			return err
		}
		return e.Client().LeasesService().Delete(ctx, lease, leases.SynchronousDelete)
	})
	go func() { group.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(2 * time.Minute):
		t.Fatal("they wait for each other")
	}
	awaitDirectories(t, cfg, 1)
}

func tempConfig(t *testing.T) Config {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	dir, err := os.MkdirTemp("", "eb") // short: there are sockets below
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		os.RemoveAll(SocketDir(dir + "/state"))
		os.RemoveAll(dir)
	})
	return Config{Root: dir + "/root", State: dir + "/state", Log: slog.New(slog.NewTextHandler(t.Output(), nil))}
}

// openEngine opens an engine, and closes it at the end unless the test has done so.
func openEngine(t *testing.T, cfg Config) *Engine {
	t.Helper()
	e, err := Embedded(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	// Whatever the other directories are, below it are the root directories of containers.
	if info, err := os.Stat(cfg.State); err != nil || info.Mode().Perm() != 0o711 {
		t.Errorf("the state directory has mode %v, %v; others cannot enter it", info.Mode(), err)
	}
	stop := e.stop
	e.stop = sync.OnceValue(stop)
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}
