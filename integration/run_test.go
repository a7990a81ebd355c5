// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// ran is how a command ended.
type ran struct {
	code           int
	stdout, stderr string
}

// lines are those of the containers' output, sorted: two containers write at the
// same time.
func (r ran) lines() []string {
	out := strings.Split(strings.TrimSpace(r.stdout), "\n")
	slices.Sort(out)
	return out
}

func (r ran) String() string {
	return fmt.Sprintf("exit code %d\n--- stdout\n%s\n--- stderr\n%s", r.code, r.stdout, r.stderr)
}

// foreground runs a manifest with run and waits for its end.
func (n *node) foreground(manifest string, flags ...string) ran {
	n.t.Helper()
	file := n.path("run.yaml")
	if err := os.WriteFile(file, []byte(manifest), 0o600); err != nil {
		n.t.Fatal(err)
	}
	cmd := n.command(append([]string{"run", "-f", file, "--image-archive", archive(n.t)}, flags...)...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		n.t.Fatal(err)
	}
	return ran{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// nothingLeft proves that a run removed all it made.
func (n *node) nothingLeft() {
	n.t.Helper()
	for _, left := range n.leftovers() {
		n.t.Errorf("left behind by run: %s", left)
	}
	for _, pattern := range []string{"data/pods/*", "log/*", "run/netns/*"} {
		if found, _ := filepath.Glob(n.path(pattern)); len(found) > 0 {
			n.t.Errorf("left behind by run: %v", found)
		}
	}
}

// TestRun runs Pods in the foreground.
func TestRun(t *testing.T) {
	n := newNode(t)
	t.Run("all succeed", func(t *testing.T) {
		got := n.foreground(podOf("good", "restartPolicy: Never",
			inits(sh("init", "echo prepared >/v/x", onV)), apps(sh("left", "cat /v/x; echo oops >&2", onV), sh("right", "echo -n no newline", onV)), diskV))
		if want := []string{"[left] oops", "[left] prepared", "[right] no newline"}; got.code != 0 || !slices.Equal(got.lines(), want) {
			t.Errorf("%s\nwant output %q", got, want)
		}
		for _, step := range []string{"init container ended: Completed, exit code 0", "container started", "Succeeded", "effective requests", "everything removed"} {
			if !strings.Contains(got.stderr, step) {
				t.Errorf("%q is not among the steps:\n%s", step, got.stderr)
			}
		}
		n.nothingLeft()
	})
	t.Run("the first that fails gives the exit code", func(t *testing.T) {
		got := n.foreground(podOf("bad", "restartPolicy: Never", apps(sh("late", "sleep 2; exit 9"), sh("early", "exit 7"), sh("fine", "true"))))
		if got.code != 7 {
			t.Error(got)
		}
		n.nothingLeft()
	})
	t.Run("a failed init container gives the exit code", func(t *testing.T) {
		got := n.foreground(podOf("bad", "restartPolicy: Never", inits(sh("init", "exit 5")), apps(sh("app", "echo not to be seen"))))
		if got.code != 5 || strings.Contains(got.stdout, "not to be seen") {
			t.Error(got)
		}
		n.nothingLeft()
	})
	t.Run("several Pods", func(t *testing.T) {
		got := n.foreground(podOf("one", "restartPolicy: Never", apps(sh("app", "echo 1"))) + "---\n" + podOf("two", "restartPolicy: Never", apps(sh("app", "echo 2"))))
		if want := []string{"[one/app] 1", "[two/app] 2"}; got.code != 0 || !slices.Equal(got.lines(), want) {
			t.Errorf("%s\nwant output %q", got, want)
		}
		n.nothingLeft()
	})
	t.Run("JSON", func(t *testing.T) { runJSON(t, n) })
	t.Run("a manifest with errors", func(t *testing.T) {
		got := n.foreground(podOf("Bad_Name", "restartPolicy: Sometimes", "nosuchfield: 1", apps(sh("app", "true", "volumeMounts: [{name: missing, mountPath: /x}]"))))
		for _, want := range []string{"metadata.name", "spec.restartPolicy", "nosuchfield", "spec.containers[0].volumeMounts[0].name", "run.yaml: document 1"} {
			if !strings.Contains(got.stderr, want) {
				t.Errorf("%s is not among the errors", want)
			}
		}
		if got.code != 1 || got.stdout != "" || t.Failed() {
			t.Error(got)
		}
	})
}

// runJSON looks at the output for machines: one object a line, and nothing else.
func runJSON(t *testing.T, n *node) {
	got := n.foreground(podOf("machine", "restartPolicy: Never", apps(sh("app", `echo '{"x": 1}'; echo err >&2; exit 4`))), "-o", "json")
	if got.code != 4 {
		t.Error(got)
	}
	type object struct {
		Pod, Container, Type, Reason, Message, Stream string
		Details                                       map[string]any
	}
	var all []object
	for line := range strings.Lines(got.stdout) {
		var o object
		if err := json.Unmarshal([]byte(line), &o); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		all = append(all, o)
	}
	for _, want := range []object{
		{Pod: "machine", Container: "app", Type: "log", Stream: "stdout", Message: `{"x": 1}`},
		{Pod: "machine", Container: "app", Type: "log", Stream: "stderr", Message: "err"},
		{Pod: "machine", Type: "progress", Reason: "Failed"},
		{Pod: "machine", Type: "resources"},
	} {
		if !slices.ContainsFunc(all, func(o object) bool {
			return o.Pod == want.Pod && o.Container == want.Container && o.Type == want.Type && o.Stream == want.Stream &&
				(want.Reason == "" || o.Reason == want.Reason) && (want.Message == "" || o.Message == want.Message)
		}) {
			t.Errorf("no object like %+v in\n%s", want, got.stdout)
		}
	}
	n.nothingLeft()
}

// TestRunInterrupted stops a run with SIGINT: its Pod ends as it wants to, and
// nothing stays.
func TestRunInterrupted(t *testing.T) {
	n := newNode(t)
	file := n.path("run.yaml")
	for name, c := range map[string]struct {
		script  string
		signals int
		want    string
	}{
		"ends when asked":   {`trap 'echo goodbye; exit 0' TERM; echo up; while true; do sleep 0.1; done`, 1, "[app] goodbye"},
		"has to be killed":  {`trap '' TERM; echo up; while true; do sleep 0.1; done`, 2, "[app] up"},
		"in its init phase": {`trap 'echo goodbye; exit 0' TERM; echo up; while true; do sleep 0.1; done`, 1, "[app] goodbye"},
	} {
		t.Run(name, func(t *testing.T) {
			phase := apps(sh("app", c.script))
			if name == "in its init phase" {
				phase = inits(sh("app", c.script)) + "\n  " + apps(sh("late", "echo late"))
			}
			if err := os.WriteFile(file, []byte(podOf("stops", "terminationGracePeriodSeconds: 600", phase)), 0o600); err != nil {
				t.Fatal(err)
			}
			out, err := os.Create(n.path("out"))
			if err != nil {
				t.Fatal(err)
			}
			defer out.Close()
			cmd := n.command("run", "-f", file, "--image-archive", archive(t))
			cmd.Stdout, cmd.Stderr = out, out
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			text := func() string { data, _ := os.ReadFile(out.Name()); return string(data) }
			n.eventually("the container is up", func() bool { return strings.Contains(text(), "[app] up") }, text)
			_ = cmd.Process.Signal(syscall.SIGINT)
			if c.signals > 1 {
				n.eventually("the run says that it stops", func() bool { return strings.Contains(text(), "interrupt again") }, text)
				_ = cmd.Process.Signal(syscall.SIGINT)
			}
			_ = cmd.Wait()
			if got := cmd.ProcessState.ExitCode(); got != 130 || !strings.Contains(text(), c.want) || strings.Contains(text(), "[late]") {
				t.Errorf("exit code %d, want 130 and %q in\n%s", got, c.want, text())
			}
			n.nothingLeft()
		})
	}
}

// TestOneHolder refuses a second program on a data directory, naming the first.
func TestOneHolder(t *testing.T) {
	n := startNode(t)
	holder := "process " + strconv.Itoa(n.daemon.Process.Pid)
	n.apply("a.yaml", podOf("a", apps(sh("app", forever))))
	before := n.awaitRunning("a")
	if out, err := n.try("serve", "--manifests", n.path("manifests")); err == nil || !strings.Contains(out, holder) || !strings.Contains(out, n.path("data")) {
		t.Errorf("a second daemon: %v\n%s", err, out)
	}
	elsewhere := n.command("run", "-f", "-")
	elsewhere.Args = append(elsewhere.Args, "--run-dir", n.path("other")) // where the daemon has no socket
	elsewhere.Stdin = strings.NewReader(podOf("b", apps(sh("app", "true"))))
	if out, err := elsewhere.CombinedOutput(); err == nil || !strings.Contains(string(out), holder) || !strings.Contains(string(out), n.path("other/api.sock")) {
		t.Errorf("run beside a daemon that does not answer: %v\n%s", err, out)
	}
	if after := n.pods()["a"]; containerID(&after, "app") != containerID(&before, "app") {
		t.Errorf("the Pod was touched: %+v", after.Status)
	}
}

// TestStop ends the daemon and leaves its Pods, and ends the Pods when asked to.
func TestStop(t *testing.T) {
	n := startNode(t)
	n.apply("a.yaml", podOf("a", inits(sh("init", "true")), apps(sh("app", forever))))
	before := n.awaitRunning("a")
	stop := func(args ...string) {
		t.Helper()
		daemon := n.daemon
		ended := make(chan error, 1)
		if daemon != nil {
			go func() { ended <- daemon.Wait() }() // a zombie is no end
		}
		if out, err := n.try(append([]string{"stop"}, args...)...); err != nil {
			t.Fatalf("stop %v: %v\n%s", args, err, out)
		}
		if daemon != nil {
			if err := <-ended; err != nil {
				t.Errorf("the daemon ended with %v", err)
			}
			n.daemon = nil
			_ = n.daemonLog.Close()
		}
	}
	stop()
	if pids := n.pids(before, containerID(&before, "app")); len(pids) != 1 {
		t.Errorf("after stop the app has the processes %v", pids)
	}
	n.start()
	after := n.awaitRunning("a")
	if containerID(&after, "app") != containerID(&before, "app") || status(&after, "app").RestartCount != 0 || after.Status.PodIP != before.Status.PodIP {
		t.Errorf("the next daemon did not adopt the Pod: %+v", after.Status)
	}
	stop("--pods")
	n.nothingLeft()
	if pids := n.pids(before, containerID(&before, "app")); len(pids) != 0 {
		t.Errorf("after stop --pods the app has the processes %v", pids)
	}
	if _, err := os.Stat(n.path("manifests/a.yaml")); err != nil {
		t.Errorf("the manifest went with its Pod: %v", err)
	}
	stop("--pods") // once more, with nothing there
	n.start()
	again := n.awaitRunning("a")
	if s := status(&again, "app"); s.RestartCount != 0 || !again.Status.StartTime.After(before.Status.StartTime.Time) {
		t.Errorf("the Pod does not start afresh: %+v", again.Status)
	}
}

// TestStopOfPodsThatNobodyEnds: Pods that never had a node have nothing to end, and
// those whose finalizers keep their objects nothing more.
func TestStopOfPodsThatNobodyEnds(t *testing.T) {
	kubectlPath(t)
	n := startNode(t)
	held := func(manifest string) string {
		return strings.Replace(manifest, "metadata: {", "metadata: {finalizers: [example.com/held], ", 1)
	}
	app := apps(sh("a", forever))
	n.must(podOf("waits", "nodeSelector: {there: none}", app))
	n.must(podOf("gated", "schedulingGates: [{name: example.com/gate}]", app))
	n.must(held(podOf("waits-held", "nodeSelector: {there: none}", app)))
	n.must(held(podOf("runs-held", app)))
	n.awaitRunning("runs-held")
	n.terminate()
	if out, err := n.try("stop", "--pods", "--grace-period", "1", "--timeout", "60s"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	n.nothingLeft()
	n.start()
	left := n.pods()
	for _, name := range []string{"waits-held", "runs-held"} {
		p, ok := left[name]
		if !ok || p.DeletionTimestamp == nil {
			t.Errorf("%s: there %v, deleted at %v", name, ok, p.DeletionTimestamp)
		}
		n.kubectl("patch", "pod", name, "--type=merge", "-p", `{"metadata":{"finalizers":null}}`)
		n.awaitGone(name)
	}
	if len(left) != 2 {
		t.Errorf("the Pods that are left: %v", slices.Sorted(maps.Keys(left)))
	}
}
