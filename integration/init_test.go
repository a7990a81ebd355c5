// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"os"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// TestFailingInitContainer runs Pods whose first init container fails. What runs
// too early finds out by itself: every container leaves its name in a volume.
func TestFailingInitContainer(t *testing.T) {
	n := startNode(t)
	const twice = `echo first >>/v/order; test $(grep -c first /v/order) = 2`
	const after = `echo second >>/v/order; cat /v/order; echo end`
	chain := func(app string) []string {
		return []string{inits(sh("first", twice, onV), sh("second", after, onV)), apps(sh("app", app, onV)), diskV}
	}
	n.apply("always.yaml", podOf("always", append(chain("echo app >>/v/order; cat /v/order; echo end; "+forever), "restartPolicy: Always")...))
	n.apply("onfailure.yaml", podOf("onfailure", append(chain("echo app >>/v/order; cat /v/order; echo end"), "restartPolicy: OnFailure")...))
	n.apply("never.yaml", podOf("never", "restartPolicy: Never",
		inits(sh("first", "exit 3"), sh("second", "true")), apps(sh("app", "true"), sh("other", "true"))))
	n.apply("hopeless.yaml", podOf("hopeless", inits(sh("first", "exit 4")), apps(sh("app", "true"))))

	t.Run("Always retries until it succeeds", func(t *testing.T) { retried(t, n, n.awaitRunning("always")) })
	t.Run("OnFailure retries until it succeeds", func(t *testing.T) { retried(t, n, n.awaitPhase("onfailure", corev1.PodSucceeded)) })
	t.Run("Never fails the Pod", func(t *testing.T) {
		pod := n.awaitPhase("never", corev1.PodFailed)
		if e := status(&pod, "first").State.Terminated; e == nil || e.ExitCode != 3 || e.Reason != "Error" {
			t.Errorf("the failed init container: %+v", e)
		}
		for _, name := range []string{"second", "app", "other"} {
			neverStarted(t, n, pod, name)
		}
	})
	t.Run("a hopeless one backs off", func(t *testing.T) {
		pod := n.awaitPod("hopeless", "backs off", func(p *corev1.Pod) bool { return waits(p, "first", "CrashLoopBackOff") })
		s := status(&pod, "first")
		if want := "back-off 10s restarting failed container=first pod=hopeless-n1_default(" + string(pod.UID) + ")"; s.State.Waiting.Message != want {
			t.Errorf("message %q, want %q", s.State.Waiting.Message, want)
		}
		if e := s.LastTerminationState.Terminated; e == nil || e.ExitCode != 4 || pod.Status.Phase != corev1.PodPending {
			t.Errorf("phase %s, last state %+v", pod.Status.Phase, e)
		}
		if s.RestartCount < 1 {
			t.Errorf("backs off after %d restarts: the first is due at once", s.RestartCount)
		}
		neverStarted(t, n, pod, "app")
	})
}

// retried proves that the first init container failed once, and the order.
func retried(t *testing.T, n *node, pod corev1.Pod) {
	t.Helper()
	if got, want := n.said(pod, "app"), []string{"first", "first", "second", "app"}; !slices.Equal(got, want) {
		t.Errorf("order %q, want %q", got, want)
	}
	counts := []int32{status(&pod, "first").RestartCount, status(&pod, "second").RestartCount, status(&pod, "app").RestartCount}
	if !slices.Equal(counts, []int32{1, 0, 0}) {
		t.Errorf("restart counts %v", counts)
	}
	first := status(&pod, "first")
	if e := first.State.Terminated; e == nil || e.Reason != "Completed" || e.ExitCode != 0 {
		t.Errorf("state %+v", first.State)
	}
	if e := first.LastTerminationState.Terminated; e == nil || e.Reason != "Error" || e.ExitCode != 1 {
		t.Errorf("last state %+v", first.LastTerminationState)
	}
}

// neverStarted proves that a container has no trace of a start.
func neverStarted(t *testing.T, n *node, pod corev1.Pod, name string) {
	t.Helper()
	if s := status(&pod, name); s.State.Waiting == nil || s.State.Waiting.Reason != "PodInitializing" || s.LastTerminationState.Terminated != nil || s.RestartCount != 0 {
		t.Errorf("status of %s: %+v", name, s)
	}
	if data, err := os.ReadFile(n.logPath(pod, name, 0)); err == nil && len(data) > 0 {
		t.Errorf("%s wrote %q", name, data)
	}
	for _, e := range n.events("never") {
		if strings.HasPrefix(e, "Started") && strings.Contains(e, name) {
			t.Errorf("event %q", e)
		}
	}
}

// TestDeadSandbox kills pause containers: a Pod that may restart starts afresh,
// init containers included, with what is in its volumes; one that may not fails.
func TestDeadSandbox(t *testing.T) {
	n := startNode(t)
	n.apply("afresh.yaml", podOf("afresh",
		inits(sh("one", "echo one >>/v/order; sleep 1", onV), sh("two", "echo two >>/v/order", onV)),
		apps(sh("app", "echo app >>/v/order; cat /v/order; echo end; "+forever, onV)), diskV))
	n.apply("once.yaml", podOf("once", "restartPolicy: Never", inits(sh("one", "echo one >>/v/order", onV)), apps(sh("app", forever, onV)), diskV))
	n.apply("bystander.yaml", podOf("bystander", apps(sh("app", forever))))
	afresh, once, bystander := n.awaitRunning("afresh"), n.awaitRunning("once"), n.awaitRunning("bystander")

	for round := int32(1); round <= 2; round++ {
		n.killPause(afresh)
		afresh = n.awaitPod("afresh", "runs again", func(p *corev1.Pod) bool { return running(p, "app", round) })
		for _, name := range []string{"one", "two", "app"} {
			if s := status(&afresh, name); s.RestartCount != round {
				t.Errorf("restart count of %s is %d in round %d", name, s.RestartCount, round)
			}
		}
		n.awaitLine(afresh, "app", int(round), "end")
	}
	want := []string{"one", "two", "app", "one", "two", "app", "one", "two", "app", "end"}
	if got := n.log(afresh, "app", 2); !slices.Equal(got, want) {
		t.Errorf("order %q", got)
	}
	if e := ended(&afresh, "app"); e == nil || e.ExitCode != 137 {
		t.Errorf("the app's last end: %+v", e)
	}
	n.awaitEvent("afresh", "SandboxChanged: ")

	n.killPause(once)
	once = n.awaitPhase("once", corev1.PodFailed)
	if e := ended(&once, "app"); e == nil || e.ExitCode != 137 || status(&once, "app").RestartCount != 0 || status(&once, "one").RestartCount != 0 {
		t.Errorf("status of a Pod that must not restart: %+v", once.Status)
	}

	now := n.pods()["bystander"]
	if containerID(&now, "app") != containerID(&bystander, "app") || status(&now, "app").RestartCount != 0 || now.Status.PodIP != bystander.Status.PodIP {
		t.Errorf("the bystander was touched: %+v", now.Status)
	}
}

// TestInitResultsReachApps hands files on through emptyDirs of both kinds.
func TestInitResultsReachApps(t *testing.T) {
	n := startNode(t)
	both := "volumeMounts: [{name: disk, mountPath: /disk}, {name: memory, mountPath: /memory}]"
	n.apply("handover.yaml", podOf("handover", "restartPolicy: Never",
		inits(
			sh("one", "echo from-one >/disk/f; echo from-one >/memory/f; chmod 700 /disk/f", both),
			sh("two", "echo from-two >>/disk/f; echo from-two >>/memory/f; mkdir /memory/d", both)),
		apps(
			sh("left", "cat /disk/f /memory/f; grep -c ' /memory tmpfs ' /proc/mounts; grep -c ' /disk tmpfs ' /proc/mounts; ls -l /disk/f | cut -c1-10; echo end", both),
			sh("right", "until test -e /memory/d/x; do sleep 0.1; done; cat /memory/d/x; echo end", both),
			sh("writer", "echo beside >/memory/d/y; mv /memory/d/y /memory/d/x", both)),
		"volumes: [{name: disk, emptyDir: {}}, {name: memory, emptyDir: {medium: Memory}}]"))
	pod := n.awaitPhase("handover", corev1.PodSucceeded)
	if got, want := n.said(pod, "left"), []string{"from-one", "from-two", "from-one", "from-two", "1", "0", "-rwx------"}; !slices.Equal(got, want) {
		t.Errorf("left saw %q, want %q", got, want)
	}
	if got := n.said(pod, "right"); !slices.Equal(got, []string{"beside"}) {
		t.Errorf("right saw %q: the tmpfs is not shared by the Pod's containers", got)
	}
}
