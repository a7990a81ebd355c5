// SPDX-License-Identifier: Apache-2.0

package shim

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/api/types/runc/options"
	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/sandbox"
	"github.com/containerd/containerd/v2/pkg/oci"
	"github.com/containerd/errdefs"

	"github.com/minikubelet/minikubelet/runtime/crilog"
	"github.com/minikubelet/minikubelet/runtime/engine"
)

// bench is the directories of one engine and the executables it uses. It is
// passed to child processes as JSON.
type bench struct {
	Name, Root, State, Logs, Rootfs, Runc, Shim string
}

const program = "containerd-shim-minikubelet-v1"

// builtShims is where the executables under test are, built once for all tests.
var builtShims struct {
	sync.Once
	dir string
	err error
}

func TestMain(m *testing.M) {
	code := m.Run()
	if builtShims.dir != "" {
		os.RemoveAll(builtShims.dir)
	}
	os.Exit(code)
}

func buildShims() (string, error) {
	b := &builtShims
	b.Do(func() {
		if b.dir, b.err = os.MkdirTemp("", "shim-test-"); b.err != nil {
			return
		}
		for _, pkg := range []string{
			"github.com/minikubelet/minikubelet/cmd/" + program,
			"github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2",
		} {
			build := exec.Command("go", "build", "-ldflags", "-s -w", "-o", filepath.Join(b.dir, filepath.Base(pkg)), pkg)
			build.Env = append(os.Environ(), "CGO_ENABLED=0")
			if out, err := build.CombinedOutput(); err != nil {
				b.err = fmt.Errorf("build %s: %w\n%s", pkg, err, out)
				return
			}
		}
	})
	return b.dir, b.err
}

func newBench(t testing.TB) *bench {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	runc, err := exec.LookPath("runc")
	if err != nil {
		runc, _ = filepath.Abs("../../bin/runc")
		if _, err := os.Stat(runc); err != nil {
			t.Skip("needs runc on PATH or in bin/ (make build)")
		}
	}
	busybox, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Skip("needs /bin/busybox (package busybox-static)")
	}
	shims, err := buildShims()
	if err != nil {
		t.Fatal(err)
	}
	state, err := os.MkdirTemp("/run", "shim-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		os.RemoveAll(state)
		// The containers' parent cgroup, which runc made: below each controller, or at the top.
		for _, pattern := range []string{"/sys/fs/cgroup/", "/sys/fs/cgroup/*/"} {
			dirs, _ := filepath.Glob(pattern + filepath.Base(state))
			for _, dir := range dirs {
				if err := os.Remove(dir); err != nil {
					t.Error(err)
				}
			}
		}
	})
	dir := t.TempDir()
	b := &bench{
		Name: filepath.Base(state), Root: filepath.Join(dir, "root"), State: state, Logs: filepath.Join(dir, "logs"),
		Rootfs: filepath.Join(dir, "rootfs"), Runc: runc, Shim: filepath.Join(shims, program),
	}
	for _, d := range []string{"bin", "proc", "dev", "sys", "tmp"} {
		if err := os.MkdirAll(filepath.Join(b.Rootfs, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(b.Rootfs, "bin/busybox"), busybox, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, applet := range []string{"sh", "cat", "seq", "sleep", "true", "usleep", "tty", "yes", "head", "stty"} {
		if err := os.Symlink("busybox", filepath.Join(b.Rootfs, "bin", applet)); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

// rig is a bench with a running engine.
type rig struct {
	*bench
	*engine.Engine
	ctx     context.Context
	stopped bool
}

func (b *bench) start(t testing.TB) *rig {
	t.Helper()
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	e, err := engine.Embedded(context.Background(), engine.Config{Root: b.Root, State: b.State, Namespace: "shim-test", Log: log})
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{bench: b, Engine: e, ctx: e.Context(context.Background())}
	t.Cleanup(func() { r.stop(t) })
	return r
}

// stop removes all containers and ends the engine, once.
func (r *rig) stop(t testing.TB) {
	if r.stopped {
		return
	}
	r.stopped = true
	ctx, cancel := context.WithTimeout(r.ctx, 30*time.Second)
	defer cancel()
	list, err := r.Client().Containers(ctx)
	if err != nil {
		t.Errorf("list containers: %v", err)
	}
	// Containers that joined a sandbox's shim go before the sandbox.
	for _, joined := range []bool{true, false} {
		for _, c := range list {
			info, err := c.Info(ctx)
			if err != nil || (info.SandboxID != "") != joined {
				continue
			}
			if task, err := c.Task(ctx, nil); err == nil {
				if _, err := task.Delete(ctx, containerd.WithProcessKill); err != nil && !errdefs.IsNotFound(err) {
					t.Errorf("delete task %s: %v", c.ID(), err)
				}
			}
			if err := c.Delete(ctx); err != nil {
				t.Errorf("delete container %s: %v", c.ID(), err)
			}
			_ = r.Client().SandboxStore().Delete(ctx, c.ID()) // not all have one
		}
	}
	if err := r.Close(); err != nil {
		t.Errorf("close engine: %v", err)
	}
}

// taskSpec describes a container to make.
type taskSpec struct {
	id, sandbox string
	script      string   // for a shell
	args        []string // instead of script
	max         int64    // of the log
	stdin       bool
	terminal    bool
	uri         string // instead of the log
	opts        []oci.SpecOpts
}

func (b *bench) logPath(id string) string { return filepath.Join(b.Logs, id, "0.log") }

// create makes a container and its task. It has a sandbox record, so that its
// exit is kept while there is no engine.
func (r *rig) create(s taskSpec) error {
	ctx, client := r.ctx, r.Client()
	if s.args == nil {
		s.args = []string{"/bin/sh", "-c", s.script}
	}
	opts := append([]oci.SpecOpts{
		oci.WithDefaultSpec(), oci.WithRootFSPath("rootfs"), oci.WithProcessArgs(s.args...), oci.WithCgroup("/" + r.Name + "/" + s.id),
	}, s.opts...)
	if s.terminal {
		opts = append(opts, oci.WithTTY)
	}
	spec, err := oci.GenerateSpec(ctx, client, &containers.Container{ID: s.id}, opts...)
	if err != nil {
		return err
	}
	if _, err := client.SandboxStore().Create(ctx, sandbox.Sandbox{ID: s.id}); err != nil {
		return err
	}
	newOpts := []containerd.NewContainerOpts{
		containerd.WithSpec(spec),
		containerd.WithRuntime(r.Shim, &options.Options{BinaryName: r.Runc, Root: filepath.Join(r.State, "runc")}),
	}
	if s.sandbox != "" {
		newOpts = append(newOpts, containerd.WithSandbox(s.sandbox))
	}
	if _, err := client.NewContainer(ctx, s.id, newOpts...); err != nil {
		return err
	}
	if s.uri == "" {
		s.uri = crilog.Target{Path: r.logPath(s.id), MaxBytes: s.max, MaxFiles: 100, Attach: filepath.Join(r.State, "attach"), Stdin: s.stdin}.URI().String()
	}
	req := &tasks.CreateTaskRequest{
		ContainerID: s.id, Stdout: s.uri, Stderr: s.uri, Terminal: s.terminal,
		Rootfs: mount.ToProto([]mount.Mount{{Type: "bind", Source: r.Rootfs, Options: []string{"rbind", "rw"}}}),
	}
	if s.terminal {
		req.Stderr = ""
	}
	if strings.HasPrefix(s.uri, "null") {
		req.Stdout, req.Stderr = "", ""
	}
	_, err = client.TaskService().Create(ctx, req)
	return err
}

func (r *rig) startTask(id string) (pid int, err error) {
	resp, err := r.Client().TaskService().Start(r.ctx, &tasks.StartRequest{ContainerID: id})
	if err != nil {
		return 0, err
	}
	return int(resp.Pid), nil
}

// run creates and starts.
func (r *rig) run(t testing.TB, s taskSpec) (pid int) {
	t.Helper()
	if err := r.create(s); err != nil {
		t.Fatalf("create %s: %v", s.id, err)
	}
	pid, err := r.startTask(s.id)
	if err != nil {
		t.Fatalf("start %s: %v", s.id, err)
	}
	return pid
}

func (r *rig) wait(t testing.TB, id string) (code uint32) {
	t.Helper()
	ctx, cancel := context.WithTimeout(r.ctx, 60*time.Second)
	defer cancel()
	resp, err := r.Client().TaskService().Wait(ctx, &tasks.WaitRequest{ContainerID: id})
	if err != nil {
		t.Fatalf("wait for %s: %v", id, err)
	}
	return resp.ExitStatus
}

func (r *rig) deleteTask(t testing.TB, id string) (code uint32) {
	t.Helper()
	resp, err := r.Client().TaskService().Delete(r.ctx, &tasks.DeleteTaskRequest{ContainerID: id})
	if err != nil {
		t.Fatalf("delete task %s: %v", id, err)
	}
	return resp.ExitStatus
}

// removeContainer removes a container whose task is deleted.
func (r *rig) removeContainer(t testing.TB, id string) {
	t.Helper()
	err := r.Client().ContainerService().Delete(r.ctx, id)
	if err == nil {
		err = r.Client().SandboxStore().Delete(r.ctx, id)
	}
	if err != nil {
		t.Fatalf("remove container %s: %v", id, err)
	}
}

// shimPID returns the process that holds the task.
func (r *rig) shimPID(t testing.TB, pid int) int {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(data), ") ")
	fields := strings.Fields(after) // state, parent, ...
	ppid, err := strconv.Atoi(fields[1])
	if err != nil {
		t.Fatal(err)
	}
	return ppid
}

// text returns a log as a person sees it.
func (b *bench) text(t testing.TB, id string) (stdout, stderr string) {
	t.Helper()
	var out, errout strings.Builder
	opts := crilog.Options{Malformed: func(line []byte, err error) { t.Errorf("malformed %q: %v", line, err) }}
	if err := crilog.Copy(context.Background(), b.logPath(id), opts, crilog.Format{}, &out, &errout); err != nil {
		t.Fatal(err)
	}
	return out.String(), errout.String()
}
