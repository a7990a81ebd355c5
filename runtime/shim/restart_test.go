// SPDX-License-Identifier: Apache-2.0

package shim

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	apievents "github.com/containerd/containerd/api/events"
	"github.com/containerd/containerd/v2/core/events"
	"github.com/containerd/typeurl/v2"
)

// childEnv tells TestChildEngine, in a process of its own, what to run.
const childEnv = "SHIM_TEST_CHILD"

// childTask is a taskSpec that can be told to another process.
type childTask struct{ ID, Script string }

type childWork struct {
	Bench *bench
	Tasks []childTask
}

// TestChildEngine is no test of its own: it stands in for the agent in tests
// that kill it. It starts its tasks, says their processes, and waits.
func TestChildEngine(t *testing.T) {
	data := os.Getenv(childEnv)
	if data == "" {
		t.Skip("is run by other tests")
	}
	var work childWork
	if err := json.Unmarshal([]byte(data), &work); err != nil {
		t.Fatal(err)
	}
	r := work.Bench.start(t)
	for _, task := range work.Tasks {
		r.run(t, taskSpec{id: task.ID, script: task.Script, max: 20_000})
	}
	fmt.Println("READY")
	select {}
}

// startChild returns the process once its tasks run. The caller kills it.
func (b *bench) startChild(t *testing.T, tasks ...childTask) *exec.Cmd {
	t.Helper()
	data, err := json.Marshal(childWork{b, tasks})
	if err != nil {
		t.Fatal(err)
	}
	child := exec.Command(os.Args[0], "-test.run=^TestChildEngine$", "-test.v")
	child.Env = append(os.Environ(), childEnv+"="+string(data))
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if strings.HasSuffix(lines.Text(), "READY") {
			return child
		}
		fmt.Fprintln(&said, lines.Text())
	}
	_ = child.Wait()
	t.Fatalf("the child's engine did not start its tasks:\n%s", &said)
	return nil
}

func kill9(t *testing.T, child *exec.Cmd) {
	t.Helper()
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = child.Wait()
}

// The agent is killed while a container writes, and is away when it ends. No
// line is lost, the container never waits, and its exit is known later.
func TestAgentKilledInMidStream(t *testing.T) {
	b := newBench(t)
	const lines = 3000
	script := fmt.Sprintf(`i=0; while [ $i -lt %d ]; do i=$((i+1)); echo line $i; echo err $i >&2; [ $((i%%100)) = 0 ] && usleep 30000; done; exit 9`, lines)
	b.start(t).stop(t) // an engine was here before: directories exist
	child := b.startChild(t, childTask{"a", script}, childTask{"b", "exec sleep 1000"}, childTask{"c", "exit 5"})
	time.Sleep(300 * time.Millisecond)
	kill9(t, child)
	before, _ := b.text(t, "a")
	if before == "" || strings.Contains(before, fmt.Sprintf("line %d\n", lines)) {
		t.Fatalf("killed too early or too late to prove anything: %d bytes logged", len(before))
	}
	waitFor(t, "the container to end with no agent", func() bool {
		_, stderr := b.text(t, "a")
		return strings.HasSuffix(stderr, fmt.Sprintf("err %d\n", lines))
	})
	time.Sleep(7 * time.Second) // longer than the shim tries to tell its first event anybody

	r := b.start(t)
	for id, want := range map[string]uint32{"a": 9, "c": 5} {
		if code := r.wait(t, id); code != want {
			t.Errorf("%s: exit code %d after the restart, want %d", id, code, want)
		}
		if code := r.deleteTask(t, id); code != want {
			t.Errorf("%s: exit code %d at the deletion, want %d", id, code, want)
		}
	}
	stdout, stderr := b.text(t, "a")
	var wantOut, wantErr strings.Builder
	for i := range lines {
		fmt.Fprintln(&wantOut, "line", i+1)
		fmt.Fprintln(&wantErr, "err", i+1)
	}
	if stdout != wantOut.String() || stderr != wantErr.String() {
		t.Errorf("of %d lines %d and %d are there", lines, strings.Count(stdout, "\n"), strings.Count(stderr, "\n"))
	}

	// The shim that was there all the time tells the new agent what happens.
	ctx, cancel := context.WithTimeout(r.ctx, 20*time.Second)
	defer cancel()
	evs, errs := r.Client().EventService().Subscribe(ctx, `topic=="/tasks/exit"`)
	list, err := r.Client().LoadContainer(ctx, "b")
	if err != nil {
		t.Fatal(err)
	}
	task, err := list.Task(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	if err := task.Kill(ctx, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if exit := nextExit(t, evs, errs); exit.ContainerID != "b" || exit.ExitStatus != 137 {
		t.Errorf("told of %v", exit)
	}
	t.Logf("the exit was told after %v", time.Since(begun))
}

func nextExit(t *testing.T, evs <-chan *events.Envelope, errs <-chan error) *apievents.TaskExit {
	t.Helper()
	for {
		select {
		case env := <-evs:
			v, err := typeurl.UnmarshalAny(env.Event)
			if err != nil {
				t.Fatal(err)
			}
			// Late news of the others may come first.
			if exit, ok := v.(*apievents.TaskExit); ok && exit.ContainerID == "b" {
				return exit
			}
		case err := <-errs:
			t.Fatalf("no exit was told: %v", err)
		}
	}
}
