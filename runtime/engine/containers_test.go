// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/containerd/api/types/runc/options"
	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/sandbox"
	"github.com/containerd/containerd/v2/pkg/cio"
	"github.com/containerd/containerd/v2/pkg/oci"
	"github.com/containerd/errdefs"
)

// bench is one pair of engine directories with the executables to use. It is
// passed to child processes as JSON.
type bench struct {
	Root, State, Runc, Shim string
}

// childEnv tells a child process of TestChildEngine what to work on.
const childEnv = "ENGINE_TEST_BENCH"

func newBench(t *testing.T) *bench {
	t.Helper()
	if testing.Short() {
		t.Skip("runs real containers")
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	if _, err := os.Stat("/bin/busybox"); err != nil {
		t.Skip("needs /bin/busybox (package busybox-static)")
	}
	runc, err := exec.LookPath(RuncName)
	if err != nil {
		t.Skip("needs runc on PATH (make build, then PATH=$PWD/bin:$PATH)")
	}
	state, err := os.MkdirTemp("/run", "engine-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(state) })
	b := &bench{Root: filepath.Join(t.TempDir(), "root"), State: state, Runc: runc}
	if b.Shim, err = exec.LookPath(ShimName); err == nil {
		return b
	}
	b.Shim = filepath.Join(t.TempDir(), "containerd-shim-runc-v2")
	build := exec.Command("go", "build", "-o", b.Shim, "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Skipf("needs a shim on PATH (make build, then PATH=$PWD/bin:$PATH); containerd's cannot be built here: %v\n%s", err, out)
	}
	return b
}

func (b *bench) open(t *testing.T) *Engine {
	t.Helper()
	e, err := Embedded(context.Background(), Config{Root: b.Root, State: b.State, Namespace: "engine-test"})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// container makes the container id, which runs script under a root file system
// with busybox in it, alone or, when sandboxID is not empty, in that shim.
func (b *bench) container(ctx context.Context, e *Engine, id, sandboxID, script string) (containerd.Container, error) {
	// The lease keeps the snapshot from the garbage collector until there is a
	// container that refers to it.
	ctx, done, err := e.Client().WithLease(e.Context(ctx))
	if err != nil {
		return nil, err
	}
	defer func() { _ = done(context.WithoutCancel(ctx)) }()
	if err := b.rootfs(ctx, e, id); err != nil {
		return nil, err
	}
	spec := []oci.SpecOpts{
		oci.WithRootFSPath("rootfs"),
		oci.WithProcessArgs("/bin/busybox", "sh", "-c", script),
		oci.WithCgroup("/engine-test-" + id),
	}
	opts := []containerd.NewContainerOpts{
		containerd.WithSnapshotter("overlayfs"),
		containerd.WithSnapshot(id),
		containerd.WithRuntime(b.Shim, &options.Options{BinaryName: b.Runc, Root: filepath.Join(b.State, "runc")}),
		containerd.WithNewSpec(spec...),
	}
	if sandboxID != "" {
		opts = append(opts, containerd.WithSandbox(sandboxID))
	}
	return e.Client().NewContainer(ctx, id, opts...)
}

// rootfs makes the writable snapshot id with busybox in it.
func (b *bench) rootfs(ctx context.Context, e *Engine, id string) error {
	sn := e.Client().SnapshotService("overlayfs")
	mounts, err := sn.Prepare(ctx, id, "")
	if err != nil {
		return err
	}
	return mount.WithTempMount(ctx, mounts, func(root string) error {
		if err := os.MkdirAll(filepath.Join(root, "bin"), 0o755); err != nil {
			return err
		}
		busybox, err := os.ReadFile("/bin/busybox")
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(root, "bin", "busybox"), busybox, 0o755)
	})
}

// run creates and starts a container.
func (b *bench) run(ctx context.Context, e *Engine, id, sandboxID, script string) (containerd.Task, error) {
	c, err := b.container(ctx, e, id, sandboxID, script)
	if err != nil {
		return nil, err
	}
	task, err := c.NewTask(e.Context(ctx), cio.NullIO)
	if err != nil {
		return nil, err
	}
	return task, task.Start(e.Context(ctx))
}

// remove kills and deletes the container with everything it has. Every path
// through a test ends here, so it also takes what is only half there.
func (b *bench) remove(t *testing.T, e *Engine, id string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(e.Context(context.Background()), 20*time.Second)
	defer cancel()
	c, err := e.Client().LoadContainer(ctx, id)
	if errdefs.IsNotFound(err) {
		return
	}
	if err != nil {
		t.Errorf("load %s: %v", id, err)
		return
	}
	if task, err := c.Task(ctx, nil); err == nil {
		if _, err := task.Delete(ctx, containerd.WithProcessKill); err != nil {
			t.Errorf("delete task %s: %v", id, err)
		}
	}
	if err := c.Delete(ctx, containerd.WithSnapshotCleanup); err != nil {
		t.Errorf("delete %s: %v", id, err)
	}
}

// TestChildEngine is the engine that gets killed: it runs in a process of its
// own, started by startChild.
func TestChildEngine(t *testing.T) {
	data := os.Getenv(childEnv)
	if data == "" {
		t.Skip("runs as the child process of other tests")
	}
	var b bench
	if err := json.Unmarshal([]byte(data), &b); err != nil {
		t.Fatal(err)
	}
	e := b.open(t)
	for id, script := range map[string]string{"goes-on": "exec busybox sleep 600", "ends": "busybox sleep 0.5; exit 42"} {
		task, err := b.run(context.Background(), e, id, "", script)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Printf("pid %s %d\n", id, task.Pid())
	}
	fmt.Println("ready")
	time.Sleep(time.Minute) // until it is killed
}

// startChild runs TestChildEngine in a new process until it has said "ready",
// and returns the process and the containers' process IDs.
func startChild(t *testing.T, b *bench) (*exec.Cmd, map[string]int) {
	t.Helper()
	data, err := json.Marshal(b)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestChildEngine$", "-test.v")
	cmd.Env = append(os.Environ(), childEnv+"="+string(data))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pids := make(map[string]int)
	var said string
	for lines := bufio.NewScanner(out); lines.Scan(); {
		said += lines.Text() + "\n"
		var id string
		var pid int
		if n, _ := fmt.Sscanf(lines.Text(), "pid %s %d", &id, &pid); n == 2 {
			pids[id] = pid
		}
		if lines.Text() == "ready" {
			return cmd, pids
		}
	}
	_ = cmd.Wait()
	t.Fatalf("child engine failed:\n%s", said)
	return nil, nil
}

// kill ends the child as a crash would, and waits until it is gone.
func kill(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if err := cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Error(err)
	}
	_ = cmd.Wait()
}

// TestRestart kills an engine while two containers run. One of them ends while
// no engine is there. The next engine finds both: the first running with the
// same process, the second stopped with its exit code. So does the one after.
func TestRestart(t *testing.T) {
	b := newBench(t)
	child, pids := startChild(t, b)
	t.Cleanup(func() { b.removeAll(t, "goes-on", "ends") })
	kill(t, child)
	exit := filepath.Join(b.State, taskPlugin, "engine-test", "ends", exitFile)
	waitFor(t, "the exit to be recorded", func() bool { _, err := os.Stat(exit); return err == nil })

	for round := range 3 {
		b.checkAdopted(t, round, pids["goes-on"])
	}
	b.removeAll(t, "goes-on", "ends")
	if entries, _ := os.ReadDir(filepath.Join(b.State, taskPlugin, "engine-test")); len(entries) != 0 {
		t.Errorf("bundles left over: %v", entries)
	}
}

// checkAdopted starts an engine and looks at what it found.
func (b *bench) checkAdopted(t *testing.T, round, pid int) {
	t.Helper()
	start := time.Now()
	e := b.open(t)
	defer func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	}()
	t.Logf("start %d took %v", round, time.Since(start))
	ctx := e.Context(context.Background())
	if got := status(ctx, t, e, "goes-on"); got.Status != containerd.Running {
		t.Errorf("round %d: goes-on is %v", round, got)
	}
	if c, err := e.Client().LoadContainer(ctx, "goes-on"); err != nil {
		t.Error(err)
	} else if task, err := c.Task(ctx, nil); err != nil || int(task.Pid()) != pid {
		t.Errorf("round %d: another process than %d, or none: %v", round, pid, err)
	}
	if got := status(ctx, t, e, "ends"); got.Status != containerd.Stopped || got.ExitStatus != 42 {
		t.Errorf("round %d: ends is %v, want stopped with 42", round, got)
	}
	if got, ok := e.RecordedExit("ends"); !ok || got.Status != 42 {
		t.Errorf("round %d: recorded exit %v, %v", round, got, ok)
	}
	if _, ok := e.RecordedExit("goes-on"); ok {
		t.Errorf("round %d: an exit of what runs", round)
	}
}

// removeAll removes containers with an engine that it starts for that.
func (b *bench) removeAll(t *testing.T, ids ...string) {
	t.Helper()
	e := b.open(t)
	for _, id := range ids {
		b.remove(t, e, id)
	}
	if err := e.Close(); err != nil {
		t.Error(err)
	}
}

// TestJoinShimEarly creates a container in its sandbox's shim while the
// sandbox's own task is still being created.
func TestJoinShimEarly(t *testing.T) {
	b := newBench(t)
	e := b.open(t)
	t.Cleanup(func() { _ = e.Close() })
	ctx, cancel := context.WithTimeout(e.Context(context.Background()), 20*time.Second)
	defer cancel()
	if e.SandboxShimReady(ctx, "pause") {
		t.Fatal("a shim before there is any")
	}
	if _, err := e.Client().SandboxStore().Create(ctx, sandbox.Sandbox{
		ID: "pause", Runtime: sandbox.RuntimeOpts{Name: b.Shim},
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.Client().SandboxStore().Delete(e.Context(context.Background()), "pause") })
	t.Cleanup(func() { b.remove(t, e, "pause") })
	t.Cleanup(func() { b.remove(t, e, "app") })
	start := time.Now()
	paused := make(chan error, 1)
	go func() {
		_, err := b.run(ctx, e, "pause", "", "exec busybox sleep 600")
		t.Logf("pause runs after %v", time.Since(start))
		paused <- err
	}()
	if err := e.WaitSandboxShim(ctx, "pause"); err != nil {
		t.Fatal(err)
	}
	t.Logf("shim ready after %v", time.Since(start))
	if _, err := b.run(ctx, e, "app", "pause", "exec busybox sleep 600"); err != nil {
		t.Fatal(err)
	}
	t.Logf("app runs after %v", time.Since(start))
	if err := <-paused; err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"pause", "app"} {
		if got := status(ctx, t, e, id); got.Status != containerd.Running {
			t.Errorf("%s is %v", id, got)
		}
	}
}

// status is the state of a container's task.
func status(ctx context.Context, t *testing.T, e *Engine, id string) containerd.Status {
	t.Helper()
	c, err := e.Client().LoadContainer(ctx, id)
	if err != nil {
		t.Errorf("load %s: %v", id, err)
		return containerd.Status{}
	}
	task, err := c.Task(ctx, nil)
	if err != nil {
		t.Errorf("task of %s: %v", id, err)
		return containerd.Status{}
	}
	s, err := task.Status(ctx)
	if err != nil {
		t.Errorf("status of %s: %v", id, err)
	}
	return s
}

func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for range 200 {
		if ok() {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatalf("waited 10 s for %s", what)
}
