// SPDX-License-Identifier: Apache-2.0

package shim

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/pkg/oci"

	"github.com/minikubelet/minikubelet/runtime/pause"
)

// pauseSpec is a sandbox whose process the shim itself runs.
func (b *bench) pauseSpec(t *testing.T) taskSpec {
	t.Helper()
	root := filepath.Join(t.TempDir(), "pause")
	if err := pause.Install(root); err != nil {
		t.Fatal(err)
	}
	dir := "/sys/fs/cgroup"
	if _, err := os.Stat(filepath.Join(dir, "cgroup.procs")); err != nil {
		dir = "/sys/fs/cgroup/pids"
	}
	cgroup := filepath.Join(dir, b.Name, "pause")
	if err := os.MkdirAll(cgroup, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(cgroup) })
	return taskSpec{id: "pause", args: []string{pause.Program}, uri: "null", opts: []oci.SpecOpts{
		oci.WithRootFSPath(root),
		oci.WithAnnotations(map[string]string{pause.AnnotationCgroups: cgroup}),
		func(_ context.Context, _ oci.Client, _ *containers.Container, s *oci.Spec) error {
			s.Linux.CgroupsPath = ""
			return nil
		},
	}}
}

// TestPauseWithoutRunc holds a sandbox with no help of runc: containers join it,
// and its end is told as that of any other task.
func TestPauseWithoutRunc(t *testing.T) {
	b := newBench(t)
	r := b.start(t)
	pid := r.run(t, b.pauseSpec(t))
	if name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid)); err != nil || string(name) != "pause\n" {
		t.Errorf("the sandbox's process is %q, %v", name, err)
	}
	if _, err := os.Stat(filepath.Join(b.State, "runc", "shim-test", "pause")); !os.IsNotExist(err) {
		t.Errorf("runc knows of it: %v", err)
	}
	child := r.run(t, taskSpec{id: "a", sandbox: "pause", script: "sleep 0.2; exit 3"})
	if shim := r.shimPID(t, pid); shim != r.shimPID(t, child) {
		t.Errorf("the shim %d of the sandbox is not that of the container", shim)
	}
	if code := r.wait(t, "a"); code != 3 {
		t.Errorf("a container in it ended with %d", code)
	}
	r.deleteTask(t, "a")
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code := r.wait(t, "pause"); code != 0 {
		t.Errorf("it ended with %d, want 0 after SIGTERM", code)
	}
	if code := r.deleteTask(t, "pause"); code != 0 {
		t.Errorf("exit code at the deletion %d", code)
	}
}

// TestPauseSurvivesTheEngine: it runs on while there is no engine, the next one
// finds it, and ends it as it asks.
func TestPauseSurvivesTheEngine(t *testing.T) {
	b := newBench(t)
	spec := b.pauseSpec(t)
	first := b.start(t)
	pid := first.run(t, spec)
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	first.stopped = true
	second := b.start(t)
	got, err := second.Client().TaskService().Get(second.ctx, &tasks.GetRequest{ContainerID: "pause"})
	if err != nil {
		t.Fatal(err)
	}
	if got.Process.Pid != uint32(pid) || got.Process.Status.String() != "RUNNING" {
		t.Errorf("found %v", got)
	}
	pids, err := second.Client().TaskService().ListPids(second.ctx, &tasks.ListPidsRequest{ContainerID: "pause"})
	if err != nil || len(pids.Processes) != 1 || pids.Processes[0].Pid != uint32(pid) {
		t.Errorf("its processes: %v, %v", pids, err)
	}
	if _, err := second.Client().TaskService().Kill(second.ctx, &tasks.KillRequest{ContainerID: "pause", Signal: uint32(syscall.SIGKILL)}); err != nil {
		t.Fatal(err)
	}
	if code := second.wait(t, "pause"); code != 137 {
		t.Errorf("it ended with %d", code)
	}
	second.deleteTask(t, "pause")
}
