// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"bytes"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

// create makes a Pod over the API: the node keeps it when it has ended.
func (n *node) create(manifest string) {
	n.t.Helper()
	data, err := yaml.YAMLToJSON([]byte(manifest))
	if err != nil {
		n.t.Fatal(err)
	}
	r, err := n.api.Post("http://node/api/v1/namespaces/default/pods", "application/json", bytes.NewReader(data))
	if err != nil {
		n.t.Fatal(err)
	}
	defer r.Body.Close()
	if r.StatusCode != http.StatusCreated {
		var text bytes.Buffer
		_, _ = text.ReadFrom(r.Body)
		n.t.Fatalf("create: %s\n%s", r.Status, text.String())
	}
}

// condition of a Pod's status; empty if it has none of that type.
func condition(p *corev1.Pod, kind corev1.PodConditionType) corev1.PodCondition {
	for _, c := range p.Status.Conditions {
		if c.Type == kind {
			return c
		}
	}
	return corev1.PodCondition{}
}

// clock prints the kernel's clock.
const clock = "cut -d' ' -f1 /proc/uptime"

// TestShutdownEndsPodsByPriority: SIGTERM ends the agent with its Pods, the critical
// one after all others are gone. What came over the API stays ended; a manifest's
// Pod starts anew with the next agent.
func TestShutdownEndsPodsByPriority(t *testing.T) {
	n := startNode(t, "--shutdown-pods")
	onTerm := func(script string) string {
		return "trap \"" + script + "; exit 0\" TERM; echo up; while :; do sleep 0.05; done"
	}
	grace := "terminationGracePeriodSeconds: 20"
	n.create(podOf("plain", grace, apps(sh("app", onTerm("sleep 1; "+clock)))))
	n.create(podOf("urgent", grace, "priorityClassName: system-node-critical", apps(sh("app", onTerm(clock)))))
	n.apply("static.yaml", podOf("static", grace, apps(sh("app", onTerm("exit 0")))))
	for _, name := range []string{"plain", "urgent", "static"} {
		n.awaitLine(n.awaitRunning(name), "app", 0, "up")
	}
	static := n.pods()["static"]
	if status := n.terminate(); status != 0 {
		t.Errorf("exit status %d", status)
	}
	n.start()
	at := map[string]float64{}
	for _, name := range []string{"plain", "urgent"} {
		pod := n.awaitPhase(name, corev1.PodFailed)
		if pod.Status.Reason != "Terminated" || pod.Status.Message != "Pod was terminated in response to imminent node shutdown." {
			t.Errorf("%s: %s: %s", name, pod.Status.Reason, pod.Status.Message)
		}
		if c := condition(&pod, corev1.DisruptionTarget); c.Status != corev1.ConditionTrue || c.Reason != corev1.PodReasonTerminationByKubelet {
			t.Errorf("%s: condition %+v", name, c)
		}
		lines := n.log(pod, "app", 0)
		var err error
		if at[name], err = strconv.ParseFloat(lines[len(lines)-1], 64); err != nil {
			t.Fatalf("%s: %q", name, lines)
		}
	}
	if at["urgent"] < at["plain"] {
		t.Errorf("the critical Pod was told before the other one had ended: %v", at)
	}
	n.awaitPod("static", "runs anew", func(p *corev1.Pod) bool {
		return running(p, "app", 0) && p.Status.Reason == "" && !p.CreationTimestamp.Equal(&static.CreationTimestamp)
	})
}

// TestAKilledShutdownGoesOn: an agent that is killed in the middle of a shutdown has
// a successor that brings the Pod to the same end.
func TestAKilledShutdownGoesOn(t *testing.T) {
	n := startNode(t, "--shutdown-pods", "--shutdown-grace-period-by-pod-priority", "0=6")
	n.create(podOf("stubborn", "terminationGracePeriodSeconds: 600",
		apps(sh("app", "trap 'echo asked' TERM; echo up; while :; do sleep 0.05; done"))))
	n.awaitLine(n.awaitRunning("stubborn"), "app", 0, "up")
	pod := n.pods()["stubborn"]
	_ = n.daemon.Process.Signal(syscall.SIGTERM)
	n.awaitLine(pod, "app", 0, "asked")
	n.eventually("new Pods are refused and the node is not ready", func() bool {
		var node corev1.Node
		if err := n.get("/api/v1/nodes/"+nodeName, &node); err != nil {
			return false
		}
		for _, c := range node.Status.Conditions {
			if c.Type == corev1.NodeReady {
				return c.Status == corev1.ConditionFalse && c.Message == "node is shutting down"
			}
		}
		return false
	})
	n.create(podOf("late", apps(sh("app", forever))))
	n.awaitPod("late", "refused", func(p *corev1.Pod) bool { return p.Status.Reason == "NodeShutdown" })
	n.eventually("the node's event", func() bool { return slices.Contains(n.nodeEvents(), "Shutdown") })
	n.kill()
	n.start()
	pod = n.awaitPhase("stubborn", corev1.PodFailed)
	if pod.Status.Reason != "Terminated" || ended(&pod, "app").ExitCode != 137 {
		t.Errorf("%s, %+v", pod.Status.Reason, ended(&pod, "app"))
	}
	var current corev1.Node
	if err := n.get("/api/v1/nodes/"+nodeName, &current); err != nil {
		t.Fatal(err)
	}
	for _, c := range current.Status.Conditions {
		if c.Type == corev1.NodeReady && c.Status != corev1.ConditionTrue {
			t.Errorf("after the restart: %+v", c)
		}
	}
}

// underSystemd gives the node's daemon a systemd that is told how it is and takes the
// machine down. It returns what the next thing told is.
func underSystemd(t *testing.T) (told func() string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "systemctl"), []byte("#!/bin/sh\necho stopping\nexit 1\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	socket := filepath.Join(dir, "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram", Name: socket})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	t.Setenv("NOTIFY_SOCKET", socket)
	return func() string {
		t.Helper()
		_ = conn.SetReadDeadline(time.Now().Add(patience))
		text := make([]byte, 1024)
		n, err := conn.Read(text)
		if err != nil {
			t.Fatalf("systemd is told nothing: %v", err)
		}
		return string(text[:n])
	}
}

// TestPodsEndWithTheMachine: when systemd takes the machine down, the agent leaves
// nothing running, whatever a container thinks of its stop signal, and the Pods run
// again at the next boot.
func TestPodsEndWithTheMachine(t *testing.T) {
	told := underSystemd(t)
	n := startNode(t)
	if got := told(); got != "READY=1" {
		t.Errorf("told %q", got)
	}
	n.create(podOf("polite", "terminationGracePeriodSeconds: 600", "shareProcessNamespace: true", apps(sh("app", "trap 'echo asked; sleep 1; echo done; exit 0' TERM; echo up; while :; do sleep 0.05; done"))))
	n.create(podOf("deaf", "terminationGracePeriodSeconds: 1", apps(sh("app", "trap '' TERM; echo up; "+forever))))
	pods := map[string]corev1.Pod{}
	for _, name := range []string{"polite", "deaf"} {
		pods[name] = n.awaitRunning(name)
		n.awaitLine(pods[name], "app", 0, "up")
	}
	if status := n.terminate(); status != 0 {
		t.Errorf("exit status %d", status)
	}
	if got := told(); !strings.HasPrefix(got, "STOPPING=1\nEXTEND_TIMEOUT_USEC=") {
		t.Errorf("told %q", got)
	}
	for name, pod := range pods {
		for _, dir := range n.cgroupDirs(pod) {
			if left := processesBelow(t, dir); left != "" {
				t.Errorf("%s still runs: %s", name, left)
			}
		}
	}
	if lines := n.log(pods["polite"], "app", 0); !slices.Equal(lines, []string{"up", "asked", "done"}) {
		t.Errorf("it says %q", lines)
	}
	n.start()
	for name := range pods {
		n.awaitPod(name, "runs again", func(p *corev1.Pod) bool { return running(p, "app", 1) && p.Status.Reason == "" })
	}
}

// TestPodsEndInOrderWithTheMachine: the same with times for the node's shutdown, and
// without logind.
func TestPodsEndInOrderWithTheMachine(t *testing.T) {
	underSystemd(t)
	n := startNode(t, "--shutdown-grace-period", "20s")
	n.create(podOf("web", apps(sh("app", "echo up; "+forever))))
	n.awaitRunning("web")
	if status := n.terminate(); status != 0 {
		t.Errorf("exit status %d", status)
	}
	n.start()
	if pod := n.awaitPhase("web", corev1.PodFailed); pod.Status.Reason != "Terminated" {
		t.Errorf("%s: %s", pod.Status.Reason, pod.Status.Message)
	}
}

// processesBelow is what runs in a cgroup and those below it.
func processesBelow(t *testing.T, dir string) string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.Name() != "cgroup.procs" {
			return err
		}
		pids, err := os.ReadFile(path)
		all = append(all, strings.Fields(string(pids))...)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(all, " ")
}
