// SPDX-License-Identifier: Apache-2.0

package runtime

import (
	"errors"
	"os"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/containers"
)

// kill ends a process and waits until it is gone, zombies not counted.
func (n *node) kill(pid int) {
	n.t.Helper()
	if pid <= 1 {
		n.t.Fatalf("refusing to kill process %d", pid)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		n.t.Fatal(err)
	}
	n.eventually("the process is gone", func() bool { return !alive(pid) })
}

// TestAgentRestarts stops engine and runtime, as an agent's end does, and starts them again: what ran still runs, and what ended
// meanwhile is known with its exit code.
func TestAgentRestarts(t *testing.T) {
	n := newNode(t)
	sandbox := n.runSandbox()
	runs, waits, ends := n.container(sandbox, "sleep 1000"), n.container(sandbox, "exit 4"), n.container(sandbox, "sleep 1000; exit 1")
	n.run(runs)
	n.create(waits)
	n.run(ends)
	before, _ := n.runtime.Status(runs.ID)
	ending, _ := n.runtime.Status(ends.ID)
	n.stop()
	n.kill(ending.PID)
	n.start()

	after, err := n.runtime.Status(runs.ID)
	if err != nil || after.State != StateRunning || after.PID != before.PID || !after.StartedAt.Equal(before.StartedAt) {
		t.Errorf("the container that ran is %+v, error %v; before it was %+v", after, err, before)
	}
	ended, err := n.runtime.Status(ends.ID)
	if err != nil || ended.State != StateExited || ended.ExitCode != 137 || !ended.StartedAt.Equal(ending.StartedAt) || ended.FinishedAt.Before(ended.StartedAt) {
		t.Errorf("the container that ended meanwhile is %+v, error %v", ended, err)
	}
	if pod := n.runtime.Pod(sandbox.Pod.UID); len(pod) != 4 {
		t.Errorf("containers of the Pod: %+v", pod)
	}
	if err := n.runtime.Start(t.Context(), waits.ID); err != nil {
		t.Errorf("start what was created before: %v", err)
	}
	if s := n.await(waits.ID, StateExited); s.ExitCode != 4 {
		t.Errorf("the container that was created before ended as %+v", s)
	}
	n.run(n.container(sandbox, "sleep 1000"))
	n.kill(after.PID)
	if s := n.await(runs.ID, StateExited); s.ExitCode != 137 {
		t.Errorf("the container that ran ended as %+v", s)
	}
}

// TestExitsOnRecord: an exit that was seen survives the loss of everything but the disk.
func TestExitsOnRecord(t *testing.T) {
	n := newNode(t)
	sandbox := n.runSandbox()
	ended, lost, unstarted := n.container(sandbox, "exit 9"), n.container(sandbox, "sleep 1000"), n.container(sandbox, "sleep 1000")
	n.run(ended)
	n.run(lost)
	n.create(unstarted)
	n.await(ended.ID, StateExited)
	started, _ := n.runtime.Status(lost.ID)
	// Give the records their time: a start that the power cut swallowed is not what this test is about.
	ctx := n.engine.Context(t.Context())
	n.eventually("start and exit are on record", func() bool {
		a, _ := n.engine.Client().ContainerService().Get(ctx, ended.ID)
		b, _ := n.engine.Client().ContainerService().Get(ctx, lost.ID)
		return a.Labels[labelExitCode] == "9" && b.Labels[labelStartedAt] != ""
	})
	n.reboot()
	for id, want := range map[string]State{sandbox.ID: StateUnknown, ended.ID: StateExited, lost.ID: StateUnknown, unstarted.ID: StateUnknown} {
		if s, err := n.runtime.Status(id); err != nil || s.State != want || s.PID != 0 {
			t.Errorf("after the reboot: %+v, error %v, want %s", s, err, want)
		}
	}
	if s, _ := n.runtime.Status(ended.ID); s.ExitCode != 9 {
		t.Errorf("exit code after the reboot: %+v", s)
	}
	if s, _ := n.runtime.Status(lost.ID); !s.StartedAt.Equal(started.StartedAt) {
		t.Errorf("start time after the reboot: %v, before %v", s.StartedAt, started.StartedAt)
	}
	if s, _ := n.runtime.Status(unstarted.ID); !s.StartedAt.IsZero() {
		t.Errorf("start time of a container that was not started: %v", s.StartedAt)
	}
	// Of what ran the records stay when its sandbox goes.
	if err := n.runtime.Remove(t.Context(), sandbox.ID); err != nil {
		t.Error(err)
	}
	for id, want := range map[string]State{ended.ID: StateExited, lost.ID: StateUnknown} {
		if s, err := n.runtime.Status(id); err != nil || s.State != want || s.StartedAt.IsZero() {
			t.Errorf("without its sandbox: %+v, error %v, want %s", s, err, want)
		}
	}
	if _, err := n.runtime.Status(unstarted.ID); !errors.Is(err, ErrNotFound) {
		t.Errorf("a container that was not started, without its sandbox: %v", err)
	}
	n.removePod(sandbox)
	n.expectNothing()
}

// reboot ends all processes and loses what is on a tmpfs on a real node.
func (n *node) reboot() {
	n.t.Helper()
	n.stop()
	for _, pid := range n.processes() {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	n.eventually("all processes are gone", func() bool { return len(n.processes()) == 0 })
	// The engine that was stopped is still in this process, and cleans up after the shims whose connections it has lost.
	n.eventually("the run directory is gone", func() bool {
		for _, path := range mountsBelow(n.dir) {
			_ = syscall.Unmount(path, 0)
		}
		return os.RemoveAll(n.dir+"/state") == nil
	})
	n.removeCgroups()
	n.start()
}

// TestHalfMade starts from what a crash in the middle of Create leaves: a record, perhaps a snapshot, and no task.
func TestHalfMade(t *testing.T) {
	n := newNode(t)
	sandbox := n.runSandbox()
	c := n.container(sandbox, "exit 3")
	ctx := n.engine.Context(t.Context())
	s := c.newStatus()
	record := containers.Container{
		ID: c.ID, Labels: identityLabels(s), Image: c.Image, SandboxID: c.SandboxID, Runtime: containers.RuntimeInfo{Name: n.shim},
		Snapshotter: "overlayfs", SnapshotKey: c.ID,
	}
	full, err := n.engine.Client().ContainerService().Get(ctx, sandbox.ID)
	if err != nil {
		t.Fatal(err)
	}
	record.Spec = full.Spec
	if _, err := n.engine.Client().ContainerService().Create(ctx, record); err != nil {
		t.Fatal(err)
	}
	n.stop()
	n.start()
	if s, err := n.runtime.Status(c.ID); err != nil || s.State != StateUnknown || !s.StartedAt.IsZero() {
		t.Fatalf("half-made: %+v, error %v", s, err)
	}
	n.run(c)
	if s := n.await(c.ID, StateExited); s.ExitCode != 3 {
		t.Errorf("made anew: %+v", s)
	}
}

// TestPauseDies: the end of the sandbox's process is seen like any other, and the other containers go on until they are removed.
func TestPauseDies(t *testing.T) {
	n := newNode(t)
	sandbox := n.runSandbox()
	c := n.container(sandbox, "sleep 1000")
	n.run(c)
	s, _ := n.runtime.Status(sandbox.ID)
	n.kill(s.PID)
	if s := n.await(sandbox.ID, StateExited); s.ExitCode != 137 {
		t.Errorf("sandbox %+v", s)
	}
	time.Sleep(2 * calm) // what a container held would be freed by then
	if s, _ := n.runtime.Status(c.ID); s.State != StateRunning {
		t.Errorf("container %+v", s)
	}
	if _, err := n.runtime.Create(t.Context(), n.container(sandbox, "true")); err == nil {
		t.Error("a container was created in a dead sandbox")
	}
	n.removePod(sandbox)
	n.expectNothing()
}

// TestSandboxRemoved keeps the record of what ended in the sandbox, and finds the shim of one whose pause ended before another
// container and before the agent.
func TestSandboxRemoved(t *testing.T) {
	n := newNode(t)
	sandbox := n.runSandbox()
	ended, waits := n.container(sandbox, "exit 3"), n.container(sandbox, "true")
	last := n.container(sandbox, "sleep 1000")
	n.run(ended)
	n.run(last)
	n.create(waits)
	n.await(ended.ID, StateExited)
	s, _ := n.runtime.Status(sandbox.ID)
	n.kill(s.PID)
	n.await(sandbox.ID, StateExited)
	time.Sleep(2 * calm)
	s, _ = n.runtime.Status(last.ID)
	n.kill(s.PID)
	n.await(last.ID, StateExited)
	n.stop()
	n.start()
	if err := n.runtime.Remove(t.Context(), sandbox.ID); err != nil {
		t.Fatal(err)
	}
	n.eventually("the shim is gone", func() bool { return len(n.processes()) == 0 })
	for id, want := range map[string]int32{ended.ID: 3, last.ID: 137} {
		if s, err := n.runtime.Status(id); err != nil || s.State != StateExited || s.ExitCode != want || !s.Released {
			t.Errorf("after the sandbox: %+v, error %v", s, err)
		}
	}
	if s, err := n.runtime.Status(waits.ID); !errors.Is(err, ErrNotFound) {
		t.Errorf("what was never started is still there: %+v, error %v", s, err)
	}
	n.removePod(sandbox)
	n.expectNothing()
}

// TestShimDies: when the shim is killed, containerd kills its containers, and each of them is seen to have ended.
func TestShimDies(t *testing.T) {
	for _, down := range []bool{false, true} {
		t.Run(map[bool]string{false: "while the agent runs", true: "while the agent is down"}[down], func(t *testing.T) {
			n := newNode(t)
			sandbox := n.runSandbox()
			runs, waits := n.container(sandbox, "sleep 1000"), n.container(sandbox, "sleep 1000")
			n.run(runs)
			n.create(waits)
			s, _ := n.runtime.Status(sandbox.ID)
			shim, err := strconv.Atoi(parentOf(t, s.PID))
			if err != nil {
				t.Fatal(err)
			}
			if down {
				n.stop()
			}
			n.kill(shim)
			if down {
				n.start()
			}
			for _, id := range []string{sandbox.ID, runs.ID, waits.ID} {
				n.eventually("the end of "+id, func() bool {
					s, err := n.runtime.Status(id)
					return err == nil && (s.State == StateExited || s.State == StateUnknown)
				})
				s, _ := n.runtime.Status(id)
				t.Logf("%s: %s, exit code %d, finished %v", s.Name, s.State, s.ExitCode, s.FinishedAt)
			}
			n.removePod(sandbox)
			n.expectNothing()
		})
	}
}
