// SPDX-License-Identifier: Apache-2.0

package shim

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/minikubelet/minikubelet/runtime/engine"
)

func TestLogIsCompleteWhenTheTaskIsDeleted(t *testing.T) {
	b := newBench(t)
	r := b.start(t)
	shim := r.shimPID(t, r.run(t, taskSpec{id: "a", script: "echo out; echo err >&2; seq 1 20000; printf tail; sleep 0.1; exit 3", max: 50_000}))
	if code := r.wait(t, "a"); code != 3 {
		t.Errorf("exit code %d, want 3", code)
	}
	if code := r.deleteTask(t, "a"); code != 3 {
		t.Errorf("exit code at the deletion %d, want 3", code)
	}
	var want strings.Builder
	want.WriteString("out\n")
	for i := range 20000 {
		fmt.Fprintln(&want, i+1)
	}
	want.WriteString("tail")
	stdout, stderr := b.text(t, "a")
	if stdout != want.String() || stderr != "err\n" {
		t.Errorf("stdout has %d bytes, want %d; stderr is %q", len(stdout), want.Len(), stderr)
	}
	for _, left := range []string{
		filepath.Join(b.State, "runc", "shim-test", "a"),
		filepath.Join(b.State, "io.containerd.runtime.v2.task", "shim-test", "a"),
	} {
		if _, err := os.Lstat(left); !os.IsNotExist(err) {
			t.Errorf("%s is left: %v", left, err)
		}
	}
	waitFor(t, "the shim and its socket to go", func() bool {
		left, err := os.ReadDir(engine.SocketDir(b.State))
		cmdline, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", shim)) // a zombie has none
		return err == nil && len(left) == 0 && len(cmdline) == 0
	})
}

// A Pod's containers share a shim; each has its log.
func TestContainersOfOneShim(t *testing.T) {
	b := newBench(t)
	r := b.start(t)
	pause := r.run(t, taskSpec{id: "pause", script: "exec sleep 1000", uri: "null"})
	shim := r.shimPID(t, pause)
	for i := range 3 {
		id := fmt.Sprint("c", i)
		pid := r.run(t, taskSpec{id: id, sandbox: "pause", script: "echo I am " + id + "; sleep 0.2; exit " + fmt.Sprint(i)})
		if got := r.shimPID(t, pid); got != shim {
			t.Errorf("%s has shim %d, not the sandbox's %d", id, got, shim)
		}
	}
	for i := range 3 {
		id := fmt.Sprint("c", i)
		if code := r.wait(t, id); code != uint32(i) {
			t.Errorf("%s ended with %d", id, code)
		}
		r.deleteTask(t, id)
		if stdout, _ := b.text(t, id); stdout != "I am "+id+"\n" {
			t.Errorf("%s logged %q", id, stdout)
		}
	}
	if err := syscall.Kill(pause, 0); err != nil {
		t.Errorf("the sandbox's process: %v", err)
	}
}

func TestExitRightAfterTheStart(t *testing.T) {
	b := newBench(t)
	r := b.start(t)
	r.run(t, taskSpec{id: "pause", script: "exec sleep 1000", uri: "null"})
	for i := range 20 {
		id, want := fmt.Sprint("c", i), uint32(i%2*7)
		r.run(t, taskSpec{id: id, sandbox: "pause", script: fmt.Sprintf("echo %d; exit %d", i, want)})
		if code := r.wait(t, id); code != want {
			t.Errorf("%s ended with %d, want %d", id, code, want)
		}
		r.deleteTask(t, id)
		if stdout, _ := b.text(t, id); stdout != fmt.Sprintln(i) {
			t.Errorf("%s logged %q", id, stdout)
		}
	}
}

// Somebody outside the container holds its output open. Its deletion neither
// waits for them for long, nor loses what was written.
func TestDeleteWhileSomebodyHoldsTheOutput(t *testing.T) {
	b := newBench(t)
	r := b.start(t)
	pid := r.run(t, taskSpec{id: "a", script: "echo begun; sleep 0.5"})
	held, err := os.OpenFile(fmt.Sprintf("/proc/%d/fd/1", pid), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	r.wait(t, "a")
	fmt.Fprintln(held, "from outside")
	begun := time.Now()
	r.deleteTask(t, "a")
	if took := time.Since(begun); took < lingering || took > 5*time.Second {
		t.Errorf("the deletion took %v, want about %v", took, lingering)
	}
	if stdout, _ := b.text(t, "a"); stdout != "begun\nfrom outside\n" {
		t.Errorf("logged %q", stdout)
	}
}

func TestTerminal(t *testing.T) {
	b := newBench(t)
	r := b.start(t)
	r.run(t, taskSpec{id: "a", script: "tty >&2; seq 1 1000; exit 4", terminal: true})
	if code := r.wait(t, "a"); code != 4 {
		t.Errorf("exit code %d, want 4", code)
	}
	r.deleteTask(t, "a")
	stdout, stderr := b.text(t, "a")
	if !strings.HasPrefix(stdout, "/dev/") || strings.Contains(stdout, "\r") || !strings.HasSuffix(stdout, "\n999\n1000\n") || stderr != "" {
		t.Errorf("logged %.40q and %q", stdout, stderr)
	}
}

// What cannot be created leaves no trace that would keep it from being created
// in another way.
func TestCreateThatFails(t *testing.T) {
	b := newBench(t)
	r := b.start(t)
	r.run(t, taskSpec{id: "pause", script: "exec sleep 1000", uri: "null"})
	for name, s := range map[string]taskSpec{
		"command":  {args: []string{"/no/such/command"}},
		"log":      {uri: "cri:///proc/no/0.log"},
		"log size": {uri: "cri:///tmp/0.log?max=ten"},
	} {
		s.id, s.sandbox = "a", "pause"
		err := r.create(s)
		if err == nil {
			t.Errorf("%s: no error", name)
		} else {
			t.Logf("%s: %v", name, err)
		}
		r.removeContainer(t, "a")
	}
	r.run(t, taskSpec{id: "a", sandbox: "pause", script: "echo at last"})
	r.wait(t, "a")
	r.deleteTask(t, "a")
	if stdout, stderr := b.text(t, "a"); stdout != "at last\n" || stderr != "" {
		t.Errorf("logged %q and %q", stdout, stderr)
	}
}

// When the shim itself is killed, nothing of its containers stays behind.
func TestShimKilled(t *testing.T) {
	b := newBench(t)
	r := b.start(t)
	pid := r.run(t, taskSpec{id: "a", script: "echo here; exec sleep 1000"})
	time.Sleep(100 * time.Millisecond)
	if err := syscall.Kill(r.shimPID(t, pid), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	state := filepath.Join(b.State, "runc", "shim-test", "a")
	waitFor(t, "the container to be removed", func() bool {
		_, err := os.Lstat(state)
		return os.IsNotExist(err) && syscall.Kill(pid, 0) == syscall.ESRCH
	})
	if stdout, _ := b.text(t, "a"); stdout != "here\n" {
		t.Errorf("logged %q", stdout)
	}
}

func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}
