// SPDX-License-Identifier: Apache-2.0

package runtime

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
)

func TestLifecycle(t *testing.T) {
	n := newNode(t)
	sandbox := n.runSandbox()
	c := n.container(sandbox, "exit 7")
	c.Attempt = 3
	n.create(c)
	before := time.Now()
	if err := n.runtime.Start(t.Context(), c.ID); err != nil {
		t.Fatal(err)
	}
	s := n.await(c.ID, StateExited)
	if s.ExitCode != 7 || s.OOMKilled || s.Attempt != 3 || s.Kind != KindApp || s.SandboxID != sandbox.ID || s.PID != 0 ||
		s.StopSignal != "SIGUSR1" || s.Labels["minikubelet/spec-hash"] != "abc" || !strings.HasPrefix(s.ImageID, "sha256:") {
		t.Errorf("status %+v", s)
	}
	if s.StartedAt.Before(s.CreatedAt) || s.FinishedAt.Before(s.StartedAt) || s.FinishedAt.Before(before) {
		t.Errorf("created %v, Start called %v, started %v, finished %v", s.CreatedAt, before, s.StartedAt, s.FinishedAt)
	}
	if n.changes[0] != sandbox.Pod.UID {
		t.Errorf("OnChange got %v", n.changes)
	}
	if err := n.runtime.Start(t.Context(), c.ID); !errors.Is(err, ErrState) {
		t.Errorf("Start of an ended container: %v", err)
	}
	if _, err := n.runtime.Create(t.Context(), c); !errors.Is(err, ErrState) {
		t.Errorf("Create of an ended container: %v", err)
	}
	if err := n.runtime.Signal(t.Context(), c.ID, syscall.SIGTERM, false); err != nil {
		t.Errorf("Signal to an ended container: %v", err)
	}
	// The end is put on record, and what the container held is freed.
	ctx := n.engine.Context(t.Context())
	n.eventually("the task is deleted", func() bool {
		_, err := os.Stat(n.dir + "/state/io.containerd.runtime.v2.task/minikubelet/" + c.ID)
		return os.IsNotExist(err)
	})
	record, err := n.engine.Client().ContainerService().Get(ctx, c.ID)
	if err != nil {
		t.Fatal(err)
	}
	recorded, err := statusOf(record)
	if err != nil || recorded.State != StateExited || recorded.ExitCode != 7 || !recorded.FinishedAt.Equal(s.FinishedAt) || !recorded.StartedAt.Equal(s.StartedAt) {
		t.Errorf("on record %+v, error %v, want %+v", recorded, err, s)
	}
	n.removePod(sandbox)
	n.expectNothing()
	if err := n.runtime.Remove(t.Context(), sandbox.ID); err != nil {
		t.Errorf("second Remove: %v", err)
	}
}

// TestCreateInParallel creates a Pod's containers together with its sandbox: all end up in one shim.
func TestCreateInParallel(t *testing.T) {
	n := newNode(t)
	sandbox := n.sandbox()
	all := []Container{n.container(sandbox, "sleep 1000"), n.container(sandbox, "sleep 1000"), n.container(sandbox, "sleep 1000"), sandbox}
	var seen int
	all[0].NeedSandboxPID = true
	inner := all[0].Spec
	all[0].Spec = func(ctx context.Context, in SpecInput) (*specs.Spec, error) {
		seen = in.SandboxPID
		return inner(ctx, in)
	}
	var group sync.WaitGroup
	for _, c := range all {
		group.Go(func() { n.create(c) })
	}
	group.Wait()
	parents := map[string]bool{}
	for _, c := range all {
		if err := n.runtime.Start(t.Context(), c.ID); err != nil {
			t.Fatal(err)
		}
		s, _ := n.runtime.Status(c.ID)
		parents[parentOf(t, s.PID)] = true
		if c.Kind == KindSandbox && s.PID != seen {
			t.Errorf("the spec was told the sandbox's PID is %d, it is %d", seen, s.PID)
		}
	}
	if len(parents) != 1 {
		t.Errorf("shims %v, want one", parents)
	}
}

func parentOf(t *testing.T, pid int) string {
	t.Helper()
	status, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "PPid:\t")
	parent, _, _ := strings.Cut(rest, "\n")
	return parent
}

func TestCommandNotFound(t *testing.T) {
	n := newNode(t)
	sandbox := n.runSandbox()
	c := n.container(sandbox, "")
	c.Spec = n.spec(c.ID, "/no/such/command")
	s, err := n.runtime.Create(t.Context(), c)
	if err != nil || s.State != StateCreated || !strings.Contains(s.Message, "/no/such/command") {
		t.Fatalf("after Create: %+v, error %v", s, err)
	}
	if err := n.runtime.Start(t.Context(), c.ID); err == nil || !strings.Contains(err.Error(), "/no/such/command") {
		t.Errorf("Start: %v", err)
	}
	s = n.await(c.ID, StateExited)
	if s.ExitCode != startErrorCode || !s.StartedAt.IsZero() || s.FinishedAt.IsZero() || !strings.Contains(s.Message, "/no/such/command") {
		t.Errorf("after Start: %+v", s)
	}
	if s, _ := n.runtime.Status(sandbox.ID); s.State != StateRunning {
		t.Errorf("the sandbox is %s", s.State)
	}
}

// TestCommandNotFoundWhileSandboxIsMade: the failure of a container must not take the shim away from its sandbox.
func TestCommandNotFoundWhileSandboxIsMade(t *testing.T) {
	n := newNode(t)
	for range 5 {
		sandbox := n.sandbox()
		c := n.container(sandbox, "")
		c.Spec = n.spec(c.ID, "/no/such/command")
		var group sync.WaitGroup
		group.Go(func() { n.run(sandbox) })
		group.Go(func() {
			if s, err := n.runtime.Create(t.Context(), c); err != nil || s.Message == "" {
				t.Errorf("after Create: %+v, error %v", s, err)
			}
		})
		group.Wait()
		if err := n.runtime.Remove(t.Context(), sandbox.ID); err != nil {
			t.Fatal(err)
		}
	}
	n.expectNothing()
}

func TestCreateErrors(t *testing.T) {
	n := newNode(t)
	sandbox := n.runSandbox()
	broken := errors.New("broken")
	for name, test := range map[string]struct {
		change func(c *Container)
		want   error
	}{
		"image":   {func(c *Container) { c.Image = "example.org/none:latest" }, ErrImage},
		"sandbox": {func(c *Container) { c.SandboxID = newID() }, context.DeadlineExceeded},
		"spec": {func(c *Container) {
			c.Spec = func(context.Context, SpecInput) (*specs.Spec, error) { return nil, broken }
		}, broken},
	} {
		t.Run(name, func(t *testing.T) {
			c := n.container(sandbox, "sleep 1000")
			test.change(&c)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if _, err := n.runtime.Create(ctx, c); !errors.Is(err, test.want) {
				t.Errorf("Create: %v, want %v", err, test.want)
			}
			if _, err := n.runtime.Status(c.ID); !errors.Is(err, ErrNotFound) {
				t.Errorf("after Create: %v", err)
			}
		})
	}
	n.removePod(sandbox)
	n.expectNothing()
}

// TestCreateCancelled gives up at moments all over Create: nothing may remain, and the same ID can be used again.
func TestCreateCancelled(t *testing.T) {
	n := newNode(t)
	for i := range 12 {
		sandbox := n.sandbox()
		c := n.container(sandbox, "sleep 1000")
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i)*5*time.Millisecond)
		var group sync.WaitGroup
		for _, c := range []Container{sandbox, c} {
			group.Go(func() { _, _ = n.runtime.Create(ctx, c) })
		}
		group.Wait()
		cancel()
		n.create(sandbox)
		n.create(c)
		n.removePod(sandbox)
		n.expectNothing()
	}
}

// TestEngineInTheWay has a container fail for a reason that is not its own: that is no
// end of it, and it can be made when the reason has gone.
func TestEngineInTheWay(t *testing.T) {
	n := newNode(t)
	sandbox := n.runSandbox()
	c := n.container(sandbox, "exit 7")
	bundle := filepath.Join(n.bundles(), c.ID)
	if err := os.Mkdir(bundle, 0o700); err != nil {
		t.Fatal(err)
	}
	if s, err := n.runtime.Create(t.Context(), c); err == nil {
		t.Errorf("created over the bundle of another: %+v", s)
	}
	if err := os.Remove(bundle); err != nil {
		t.Fatal(err)
	}
	n.run(c)
	if s := n.await(c.ID, StateExited); s.ExitCode != 7 {
		t.Errorf("status %+v", s)
	}
}

func TestLog(t *testing.T) {
	n := newNode(t)
	sandbox := n.runSandbox()
	c := n.container(sandbox, "echo out; echo err >&2")
	c.LogPath = filepath.Join(n.dir, "a b?%.log")
	n.run(c)
	n.await(c.ID, StateExited)
	if err := n.runtime.Remove(t.Context(), c.ID); err != nil {
		t.Fatal(err)
	}
	log, err := os.ReadFile(c.LogPath)
	if err != nil || !strings.Contains(string(log), " stdout F out\n") || !strings.Contains(string(log), " stderr F err\n") {
		t.Errorf("log %q, error %v", log, err)
	}
}

func TestOOMKill(t *testing.T) {
	n := newNode(t)
	sandbox := n.runSandbox()
	c := n.container(sandbox, "exec tail /dev/zero")
	inner := c.Spec
	c.Spec = func(ctx context.Context, in SpecInput) (*specs.Spec, error) {
		spec, err := inner(ctx, in)
		limit := int64(16 << 20)
		spec.Linux.Resources = &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: &limit, Swap: &limit}}
		spec.Mounts = append(spec.Mounts, specs.Mount{Destination: "/dev/zero", Type: "bind", Source: "/dev/zero", Options: []string{"bind"}})
		return spec, err
	}
	n.run(c)
	if s := n.await(c.ID, StateExited); !s.OOMKilled || s.ExitCode != 137 {
		t.Errorf("status %+v", s)
	}
}

func TestViewOfImage(t *testing.T) {
	n := newNode(t)
	sandbox := n.sandbox()
	inner := sandbox.Spec
	var passwd []byte
	sandbox.Spec = func(ctx context.Context, in SpecInput) (*specs.Spec, error) {
		err := in.View(func(root string) (err error) {
			passwd, err = os.ReadFile(root + "/etc/passwd")
			return err
		})
		if err != nil {
			return nil, err
		}
		return inner(ctx, in)
	}
	n.create(sandbox)
	if !strings.Contains(string(passwd), "web:x:33") {
		t.Errorf("etc/passwd of the image: %q", passwd)
	}
}

// TestRemoveSandbox: what runs when the sandbox is killed has ended, what never ran is gone, and the sandbox with it.
func TestRemoveSandbox(t *testing.T) {
	n := newNode(t)
	sandbox := n.runSandbox()
	runs, ended, waits := n.container(sandbox, "sleep 1000"), n.container(sandbox, "exit 3"), n.container(sandbox, "true")
	n.run(runs)
	n.run(ended)
	n.create(waits)
	n.await(ended.ID, StateExited)
	kill := func(context.Context) error {
		for _, s := range n.runtime.Pod(sandbox.Pod.UID) {
			if s.PID != 0 {
				n.kill(s.PID)
			}
		}
		return nil
	}
	for range 2 { // the second time there is no sandbox
		if err := n.runtime.RemoveSandbox(t.Context(), sandbox.ID, kill); err != nil {
			t.Fatal(err)
		}
	}
	n.stop() // ends are on record
	n.start()
	want := map[string]int32{runs.ID: 137, ended.ID: 3}
	for _, s := range n.runtime.Pod(sandbox.Pod.UID) {
		if code, ok := want[s.ID]; !ok || s.State != StateExited || s.ExitCode != code || s.StartedAt.IsZero() {
			t.Errorf("after the sandbox: %+v", s)
		}
		delete(want, s.ID)
	}
	if len(want) > 0 {
		t.Errorf("no record of %v", want)
	}
	n.removePod(sandbox)
	n.expectNothing()
}

// TestRemoveSandboxAlive: a kill that kills nothing is made up for by the OCI runtime.
func TestRemoveSandboxAlive(t *testing.T) {
	n := newNode(t)
	sandbox := n.runSandbox()
	c := n.container(sandbox, "sleep 1000")
	n.run(c)
	if err := n.runtime.RemoveSandbox(t.Context(), sandbox.ID, func(context.Context) error { return nil }); err != nil {
		t.Fatal(err)
	}
	if s, err := n.runtime.Status(c.ID); err != nil || s.State != StateExited || s.ExitCode != 137 {
		t.Errorf("after the sandbox: %+v, error %v", s, err)
	}
	n.removePod(sandbox)
	n.expectNothing()
}
