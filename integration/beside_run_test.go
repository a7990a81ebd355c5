// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// besideRun is a run under way beside a daemon.
type besideRun struct {
	cmd *exec.Cmd
	out string
}

func (n *node) startBeside(manifest string) *besideRun {
	n.t.Helper()
	r := &besideRun{cmd: n.command("run", "-f", "-"), out: n.path("out")}
	out, err := os.Create(r.out)
	if err != nil {
		n.t.Fatal(err)
	}
	defer out.Close()
	r.cmd.Stdin, r.cmd.Stdout, r.cmd.Stderr = strings.NewReader(manifest), out, out
	if err := r.cmd.Start(); err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { _ = r.cmd.Process.Kill() }) // it has ended, unless the test failed
	return r
}

func (r *besideRun) text() string { data, _ := os.ReadFile(r.out); return string(data) }

// says waits for some text.
func (r *besideRun) says(n *node, text string) {
	n.t.Helper()
	n.eventually("the run says "+text, func() bool { return strings.Contains(r.text(), text) }, r.text)
}

// ends waits for the run's end.
func (r *besideRun) ends(t *testing.T, code int) {
	t.Helper()
	_ = r.cmd.Wait()
	if got := r.cmd.ProcessState.ExitCode(); got != code {
		t.Errorf("exit code %d, want %d\n%s", got, code, r.text())
	}
}

// objects lists what there is of a kind, but not what every namespace has.
func (n *node) objects(resource string) []string {
	n.t.Helper()
	var list struct{ Items []corev1.ConfigMap }
	if err := n.get("/api/v1/"+resource, &list); err != nil {
		n.t.Fatal(err)
	}
	var names []string
	for _, o := range list.Items {
		if o.Name != "kube-root-ca.crt" {
			names = append(names, strings.TrimPrefix(o.Namespace+"/"+o.Name, "/"))
		}
	}
	return names
}

// TestRunBesideDaemon hands Pods to a running daemon.
func TestRunBesideDaemon(t *testing.T) {
	n := startNode(t)
	before := n.objects("namespaces")
	clean := func(t *testing.T) {
		t.Helper()
		for _, resource := range []string{"pods", "configmaps", "secrets"} {
			if left := n.objects(resource); len(left) > 0 {
				t.Errorf("left behind by run: %s %v", resource, left)
			}
		}
		if after := n.objects("namespaces"); !slices.Equal(after, before) {
			t.Errorf("namespaces %v, before %v", after, before)
		}
	}
	t.Run("all succeed, with objects", func(t *testing.T) {
		got := n.foreground(`
apiVersion: v1
kind: ConfigMap
metadata: {name: words, namespace: fresh}
data: {greeting: hello}
---
apiVersion: v1
kind: Pod
metadata: {name: good, namespace: fresh}
spec:
  restartPolicy: Never
  initContainers:
  - {name: init, image: busybox, imagePullPolicy: Never, command: [sh, -c, "echo one; echo two; echo three"]}
  containers:
  - name: app
    image: busybox
    imagePullPolicy: Never
    command: [sh, -c, "echo $GREETING; echo -n no newline"]
    env: [{name: GREETING, valueFrom: {configMapKeyRef: {name: words, key: greeting}}}]
`)
		if want := "[init] one\n[init] two\n[init] three\n[app] hello\n[app] no newline\n"; got.code != 0 || got.stdout != want {
			t.Errorf("%s\nwant output %q", got, want)
		}
		for _, step := range []string{"imported", "sandbox ready", "cgroup ", "init container ended: Completed, exit code 0", "container started", "Succeeded", "everything removed"} {
			if !strings.Contains(got.stderr, step) {
				t.Errorf("%q is not among the steps:\n%s", step, got.stderr)
			}
		}
		clean(t)
	})
	t.Run("a failed init container gives the exit code", func(t *testing.T) {
		got := n.foreground(podOf("bad", "restartPolicy: Never", inits(sh("init", "exit 5")), apps(sh("app", "echo not to be seen"))))
		if got.code != 5 || strings.Contains(got.stdout, "not to be seen") {
			t.Error(got)
		}
		clean(t)
	})
	t.Run("JSON", func(t *testing.T) {
		got := n.foreground(podOf("machine", "restartPolicy: Never", apps(sh("app", "echo err >&2; exit 4"))), "-o", "json")
		if got.code != 4 || !strings.Contains(got.stdout, `"type":"log","message":"err","stream":"stderr"`) {
			t.Error(got)
		}
		clean(t)
	})
	t.Run("every attempt is shown", func(t *testing.T) {
		got := n.foreground(podOf("again", "restartPolicy: OnFailure",
			inits(sh("init", "echo try; test -e /v/x && exit 0; touch /v/x; exit 1", onV)), apps(sh("app", "true")), diskV))
		if got.code != 0 || got.stdout != "[init] try\n[init] try\n" || !strings.Contains(got.stderr, "started (restart 1)") {
			t.Error(got)
		}
		clean(t)
	})
	t.Run("a name that is taken", func(t *testing.T) {
		n.apply("taken.yaml", podOf("taken", apps(sh("app", forever))))
		pod := n.awaitRunning("taken")
		got := n.foreground("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\n---\n" + podOf("taken-"+nodeName, apps(sh("app", "true"))))
		if got.code != 1 || !strings.Contains(got.stderr, "pod default/taken-"+nodeName+" is there already") || !strings.Contains(got.stderr, "taken.yaml") {
			t.Error(got)
		}
		if after := n.pods()["taken"]; after.UID != pod.UID || after.DeletionTimestamp != nil {
			t.Errorf("the Pod was touched: %+v", after)
		}
		n.remove("taken.yaml")
		n.awaitGone("taken")
		clean(t)
	})
}

// TestRunBesideDaemonInterrupted stops runs beside a daemon: with one signal
// gracefully, with two at once.
func TestRunBesideDaemonInterrupted(t *testing.T) {
	n := startNode(t)
	for _, c := range []struct {
		name, script, want string
		signals            int
	}{
		{"ends when asked", `trap 'echo goodbye; exit 0' TERM; echo up; while true; do sleep 0.1; done`, "[app] goodbye", 1},
		{"has to be killed", `trap '' TERM; echo up; while true; do sleep 0.1; done`, "killing", 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := n.startBeside(podOf("stops", "terminationGracePeriodSeconds: 600", apps(sh("app", c.script))))
			r.says(n, "[app] up")
			_ = r.cmd.Process.Signal(syscall.SIGINT)
			if c.signals > 1 {
				r.says(n, "interrupt again")
				_ = r.cmd.Process.Signal(syscall.SIGINT)
			}
			r.ends(t, 130)
			if !strings.Contains(r.text(), c.want) || !strings.Contains(r.text(), "everything removed") || len(n.pods()) > 0 {
				t.Errorf("no %q, or Pods are left: %v\n%s", c.want, n.objects("pods"), r.text())
			}
		})
	}
}

// TestRunBesideDaemonThatDies goes on with the next daemon, with no line of output
// lost or twice.
func TestRunBesideDaemonThatDies(t *testing.T) {
	n := startNode(t)
	r := n.startBeside(podOf("lasts", "restartPolicy: Never", apps(sh("app", `i=0; while [ ! -e /v/end ]; do i=$((i+1)); echo line $i; sleep 0.05; done; exit 3`, onV)), "volumes: [{name: v, hostPath: {path: "+n.path("volume")+", type: DirectoryOrCreate}}]"))
	r.says(n, "[app] line 3")
	n.kill()
	r.says(n, "does not answer")
	n.start()
	r.says(n, "the agent is back")
	if err := os.WriteFile(n.path("volume/end"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	r.ends(t, 3)
	var lines []string
	for line := range strings.Lines(r.text()) {
		if text, ok := strings.CutPrefix(line, "[app] line "); ok {
			lines = append(lines, strings.TrimSpace(text))
		}
	}
	for i, line := range lines {
		if line != strconv.Itoa(i+1) {
			t.Fatalf("line %d is %q\n%s", i+1, line, r.text())
		}
	}
	if left := n.objects("pods"); len(left) > 0 {
		t.Errorf("left behind by run: %v", left)
	}
}
