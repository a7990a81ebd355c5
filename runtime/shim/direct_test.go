// SPDX-License-Identifier: Apache-2.0

package shim

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/pkg/oci"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// countRunc has the bench count the commands that runc is run with. It is called
// before the engine starts.
func (b *bench) countRunc(t *testing.T) (commands func() []string) {
	t.Helper()
	calls, wrapper := filepath.Join(b.State, "runc-calls"), filepath.Join(b.State, "runc-wrapper")
	script := fmt.Sprintf("#!/bin/sh\necho \"$*\" >>%s\nexec %s \"$@\"\n", calls, b.Runc)
	if err := os.WriteFile(wrapper, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	b.Runc = wrapper
	return func() (list []string) {
		data, err := os.ReadFile(calls)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(data)) {
			if c, ok := parseCommand(append([]string{"runc"}, strings.Fields(line)...)); ok {
				list = append(list, c.name)
			}
		}
		return list
	}
}

func (r *rig) killTask(t *testing.T, id string, sig syscall.Signal) {
	t.Helper()
	if _, err := r.Client().TaskService().Kill(r.ctx, &tasks.KillRequest{ContainerID: id, Signal: uint32(sig)}); err != nil {
		t.Fatalf("kill %s: %v", id, err)
	}
}

// TestRuncOnlyCreates has containers started, killed and deleted, which takes one
// runc process each, and leaves nothing that runc would have removed.
func TestRuncOnlyCreates(t *testing.T) {
	b := newBench(t)
	commands := b.countRunc(t)
	r := b.start(t)
	r.run(t, taskSpec{id: "pause", script: "exec sleep 1000", uri: "null"})
	r.run(t, taskSpec{id: "ends", sandbox: "pause", script: "exit 1"})
	r.run(t, taskSpec{id: "killed", sandbox: "pause", script: "trap 'exit 5' TERM; echo ready; while :; do sleep 0.01; done"})
	waitFor(t, "the container's handler", func() bool {
		data, _ := os.ReadFile(b.logPath("killed"))
		return strings.Contains(string(data), "ready")
	})
	r.killTask(t, "killed", syscall.SIGTERM)
	for id, want := range map[string]uint32{"ends": 1, "killed": 5} {
		if code := r.wait(t, id); code != want {
			t.Errorf("%s ended with %d, want %d", id, code, want)
		}
		r.deleteTask(t, id)
		if _, err := os.Lstat(filepath.Join(b.State, "runc", "shim-test", id)); !os.IsNotExist(err) {
			t.Errorf("runc's state of %s is left: %v", id, err)
		}
		for _, pattern := range []string{"/sys/fs/cgroup/", "/sys/fs/cgroup/*/"} {
			if left, _ := filepath.Glob(pattern + b.Name + "/" + id); len(left) > 0 {
				t.Errorf("cgroups of %s are left: %q", id, left)
			}
		}
	}
	if got := commands(); !slices.Equal(got, []string{"create", "create", "create"}) {
		t.Errorf("runc was run with %q", got)
	}
}

// TestKilledBeforeItsStart tells of a process that is gone as runc does.
func TestKilledBeforeItsStart(t *testing.T) {
	b := newBench(t)
	r := b.start(t)
	r.run(t, taskSpec{id: "pause", script: "exec sleep 1000", uri: "null"})
	if err := r.create(taskSpec{id: "a", sandbox: "pause", script: "true"}); err != nil {
		t.Fatal(err)
	}
	r.killTask(t, "a", syscall.SIGKILL)
	r.wait(t, "a")
	if _, err := r.startTask("a"); err == nil {
		t.Error("it was started")
	}
	r.deleteTask(t, "a")
}

// TestSharedPIDNamespaceIsRuncs: when the first process of such a task is killed
// the others live on, and runc has to end them.
func TestSharedPIDNamespaceIsRuncs(t *testing.T) {
	b := newBench(t)
	commands := b.countRunc(t)
	r := b.start(t)
	host := func(_ context.Context, _ oci.Client, _ *containers.Container, s *oci.Spec) error {
		s.Linux.Namespaces = slices.DeleteFunc(s.Linux.Namespaces, func(n specs.LinuxNamespace) bool { return n.Type == specs.PIDNamespace })
		return nil
	}
	pid := r.run(t, taskSpec{id: "a", script: "sleep 1000 & echo $!; wait", opts: []oci.SpecOpts{host}})
	var child int
	waitFor(t, "its child", func() bool {
		_, err := fmt.Sscan(first(b.text(t, "a")), &child)
		return err == nil
	})
	r.killTask(t, "a", syscall.SIGKILL)
	r.wait(t, "a")
	r.deleteTask(t, "a")
	waitFor(t, "its processes to end", func() bool {
		return syscall.Kill(pid, 0) == syscall.ESRCH && syscall.Kill(child, 0) == syscall.ESRCH
	})
	if got := slices.Compact(commands()); !slices.Equal(got, []string{"create", "kill", "delete"}) {
		t.Errorf("runc was run with %q", got)
	}
}

func first(a, _ string) string { return a }
