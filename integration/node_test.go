// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// patience is how long a condition may take on a slow, busy or emulated machine.
// It bounds hanging tests and is no measure of speed.
const patience = 3 * time.Minute

// nodeName is short: static Pods carry it in their names.
const nodeName = "n1"

// node is one agent with directories of its own.
type node struct {
	t         *testing.T
	dir       string
	bin       string
	flags     []string
	daemon    *exec.Cmd
	daemonLog *os.File
	external  *exec.Cmd // its own containerd daemon, when it has one
	ownNetns  bool      // each daemon gets an empty network namespace for its host's
	api       *http.Client
	seen      map[string]bool // UIDs of Pods that were there
}

// newNode makes a node with the test image in its store. At the end of the test
// its Pods are stopped and the machine is searched for what it left.
func newNode(t *testing.T, flags ...string) *node {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: containers are made")
	}
	dir, err := os.MkdirTemp("", "mk") // short: socket paths are limited
	if err != nil {
		t.Fatal(err)
	}
	return newNodeIn(t, dir, flags...)
}

// startNode makes a node and starts its daemon.
func startNode(t *testing.T, flags ...string) *node {
	t.Helper()
	n := newNode(t, flags...)
	n.start()
	return n
}

// newNodeIn is newNode with all directories in one, which is removed at the end.
func newNodeIn(t *testing.T, dir string, flags ...string) *node {
	t.Helper()
	n := &node{t: t, dir: dir, bin: program(t), seen: make(map[string]bool)}
	n.flags = append([]string{
		"--data-dir", n.path("data"), "--run-dir", n.path("run"), "--log-dir", n.path("log"), "--node-name", nodeName,
	}, flags...)
	n.api = &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", n.path("run", "api.sock"))
		},
	}}
	for _, d := range []string{"data/images", "run", "log", "manifests"} {
		if err := os.MkdirAll(n.path(d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(n.cleanUp)
	if err := os.Link(archive(t), n.path("data/images/busybox.tar")); err != nil {
		copyFile(t, archive(t), n.path("data/images/busybox.tar"))
	}
	if os.Getenv(externalEngines) != "" {
		n.startExternal()
		n.flags = append(n.flags, "--containerd-address", n.externalAddress())
	}
	return n
}

func (n *node) path(parts ...string) string {
	return filepath.Join(append([]string{n.dir}, parts...)...)
}

// cleanUp ends everything and searches for leftovers. With MINIKUBELET_TEST_KEEP
// set, the directories of a failed test stay for a look.
func (n *node) cleanUp() {
	n.kill()
	out, err := n.try("stop", "--pods", "--grace-period", "0")
	if err != nil {
		n.t.Errorf("stop --pods: %v\n%s", err, out)
	}
	n.endExternal(syscall.SIGTERM)
	for _, left := range n.leftovers() {
		n.t.Errorf("left behind: %s", left)
	}
	if n.t.Failed() {
		n.t.Logf("the end of the daemon's log:\n%s", tail(n.path("daemon.log"), 60))
		if os.Getenv("MINIKUBELET_TEST_KEEP") != "" {
			n.t.Logf("kept: %s", n.dir)
			return
		}
	}
	if err := os.RemoveAll(n.dir); err != nil {
		n.t.Errorf("remove the node's directory: %v", err)
	}
}

// command is the program with the node's flags.
func (n *node) command(args ...string) *exec.Cmd {
	return exec.Command(n.bin, append(args, n.flags...)...)
}

// try runs a command to its end.
func (n *node) try(args ...string) (string, error) {
	out, err := n.command(args...).CombinedOutput()
	return string(out), err
}

// start starts the daemon and waits until it answers.
func (n *node) start() {
	n.t.Helper()
	n.launch()
	n.eventually("the daemon answers", func() bool {
		r, err := n.api.Get("http://node/healthz")
		if err != nil {
			return false
		}
		defer r.Body.Close()
		return r.StatusCode == http.StatusOK
	})
}

// launch starts the daemon and waits for nothing.
func (n *node) launch() {
	n.t.Helper()
	log, err := os.OpenFile(n.path("daemon.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		n.t.Fatal(err)
	}
	n.daemon, n.daemonLog = n.command("serve", "--manifests", n.path("manifests"), "--debug"), log
	n.daemon.Stdout, n.daemon.Stderr = log, log
	if n.ownNetns {
		n.daemon.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	}
	if err := n.daemon.Start(); err != nil {
		n.t.Fatal(err)
	}
}

// kill ends the daemon with SIGKILL; Pods go on.
func (n *node) kill() { n.end(syscall.SIGKILL) }

// terminate ends the daemon with SIGTERM and returns its exit status.
func (n *node) terminate() int { return n.end(syscall.SIGTERM) }

func (n *node) end(sig syscall.Signal) int {
	if n.daemon == nil {
		return 0
	}
	_ = n.daemon.Process.Signal(sig) // it may have ended
	err := n.daemon.Wait()
	n.daemon = nil
	_ = n.daemonLog.Close()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode()
	}
	return 0
}

// apply writes a manifest as a careful person does: whole, then renamed.
func (n *node) apply(file, manifest string) {
	n.t.Helper()
	temp := n.path("manifest.tmp")
	if err := os.WriteFile(temp, []byte(manifest), 0o600); err != nil {
		n.t.Fatal(err)
	}
	if err := os.Rename(temp, n.path("manifests", file)); err != nil {
		n.t.Fatal(err)
	}
}

// remove removes a manifest.
func (n *node) remove(file string) {
	n.t.Helper()
	if err := os.Remove(n.path("manifests", file)); err != nil {
		n.t.Fatal(err)
	}
}

// get reads from the API's socket.
func (n *node) get(url string, into any) error {
	r, err := n.api.Get("http://node" + url)
	if err != nil {
		return err
	}
	defer r.Body.Close()
	if r.StatusCode != http.StatusOK {
		return errors.New(r.Status)
	}
	return json.NewDecoder(r.Body).Decode(into)
}

// pods lists the node's Pods by their names in the manifests.
func (n *node) pods() map[string]corev1.Pod {
	var list corev1.PodList
	if err := n.get("/api/v1/pods", &list); err != nil {
		return nil
	}
	out := make(map[string]corev1.Pod)
	for _, pod := range list.Items {
		n.seen[string(pod.UID)] = true
		out[strings.TrimSuffix(pod.Name, "-"+nodeName)] = pod
	}
	return out
}

// events lists what was told about a Pod: "reason: message", in no order.
func (n *node) events(pod string) []string {
	var list corev1.EventList
	if err := n.get("/api/v1/events", &list); err != nil {
		n.t.Fatal(err)
	}
	var out []string
	for _, e := range list.Items {
		if e.InvolvedObject.Name == pod || e.InvolvedObject.Name == pod+"-"+nodeName {
			out = append(out, e.Reason+": "+e.Message)
		}
	}
	return out
}

// awaitPod waits until a Pod satisfies a condition and returns it.
func (n *node) awaitPod(name, what string, cond func(p *corev1.Pod) bool) corev1.Pod {
	n.t.Helper()
	var last corev1.Pod
	n.eventually(name+": "+what, func() bool {
		pod, ok := n.pods()[name]
		last = pod
		return ok && cond(&pod)
	}, func() string {
		data, _ := json.MarshalIndent(last.Status, "", " ")
		return string(data)
	})
	return last
}

// awaitPhase waits for a Pod's phase.
func (n *node) awaitPhase(name string, phase corev1.PodPhase) corev1.Pod {
	n.t.Helper()
	return n.awaitPod(name, string(phase), func(p *corev1.Pod) bool { return p.Status.Phase == phase })
}

// awaitGone waits until a Pod is in the store no more.
func (n *node) awaitGone(name string) {
	n.t.Helper()
	n.eventually(name+" is gone", func() bool {
		pods := n.pods()
		_, there := pods[name]
		return pods != nil && !there
	})
}

// eventually polls; on failure it shows what explain says.
func (n *node) eventually(what string, cond func() bool, explain ...func() string) {
	n.t.Helper()
	deadline := time.Now().Add(patience)
	for !cond() {
		if time.Now().After(deadline) {
			for _, e := range explain {
				n.t.Log(e())
			}
			n.t.Fatalf("waited %v in vain until %s", patience, what)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// log reads a container's log: the text of its lines, without times.
func (n *node) log(pod corev1.Pod, container string, attempt int) []string {
	n.t.Helper()
	path := filepath.Join(n.path("log"), fmt.Sprintf("%s_%s_%s", pod.Namespace, pod.Name, pod.UID), container, fmt.Sprintf("%d.log", attempt))
	data, err := os.ReadFile(path)
	if err != nil {
		n.t.Fatalf("log: %v", err)
	}
	var lines []string
	for line := range strings.Lines(string(data)) {
		parts := strings.SplitN(strings.TrimSuffix(line, "\n"), " ", 4)
		if len(parts) != 4 {
			n.t.Fatalf("%s: not a CRI log line: %q", path, line)
		}
		lines = append(lines, parts[3])
	}
	return lines
}

func tail(path string, lines int) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	all := bytes.Split(bytes.TrimSpace(data), []byte("\n"))
	return string(bytes.Join(all[max(0, len(all)-lines):], []byte("\n")))
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	in, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(out, in); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
}
