// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// TestRestartPolicies runs an app that ends with 0 and one that ends with 1 under
// each policy.
func TestRestartPolicies(t *testing.T) {
	n := startNode(t)
	for _, c := range [][2]string{{"Always", "0"}, {"Always", "1"}, {"OnFailure", "0"}, {"OnFailure", "1"}, {"Never", "0"}, {"Never", "1"}} {
		name := map[string]string{"Always": "always", "OnFailure": "onfailure", "Never": "never"}[c[0]] + c[1]
		n.apply(name+".yaml", podOf(name, "restartPolicy: "+c[0], apps(sh("app", "exit "+c[1]), sh("other", "sleep 1"))))
	}
	n.apply("recovers.yaml", podOf("recovers", "restartPolicy: OnFailure", diskV,
		apps(sh("app", "echo x >>/v/tries; test $(wc -l </v/tries) = 2", onV))))

	for _, name := range []string{"always0", "always1", "onfailure1"} {
		code, reason := int32(1), "Error"
		if name == "always0" {
			code, reason = 0, "Completed"
		}
		pod := n.awaitPod(name, "backs off", func(p *corev1.Pod) bool { return waits(p, "app", "CrashLoopBackOff") })
		s := status(&pod, "app")
		if want := "back-off 10s restarting failed container=app pod=" + pod.Name + "_default(" + string(pod.UID) + ")"; s.RestartCount == 1 && s.State.Waiting.Message != want {
			t.Errorf("%s: message %q, want %q", name, s.State.Waiting.Message, want)
		}
		if e := s.LastTerminationState.Terminated; e == nil || e.ExitCode != code || e.Reason != reason || s.RestartCount < 1 || e.FinishedAt.IsZero() {
			t.Errorf("%s: status %+v", name, s)
		}
		if pod.Status.Phase != corev1.PodRunning {
			t.Errorf("%s: phase %s", name, pod.Status.Phase)
		}
	}
	for name, want := range map[string]corev1.PodPhase{
		"onfailure0": corev1.PodSucceeded, "never0": corev1.PodSucceeded, "never1": corev1.PodFailed, "recovers": corev1.PodSucceeded,
	} {
		pod := n.awaitPhase(name, want)
		restarts := map[string]int32{"recovers": 1}[name]
		code := map[string]int32{"never1": 1}[name]
		if s := status(&pod, "app"); s.State.Terminated == nil || s.State.Terminated.ExitCode != code || s.RestartCount != restarts {
			t.Errorf("%s: status %+v", name, s)
		}
		if s := status(&pod, "other"); s != nil && s.State.Terminated == nil {
			t.Errorf("%s: a Pod is at its end while a container still runs: %+v", name, s)
		}
	}
	// The back-off passes, the count goes on, and the next one is longer.
	pod := n.awaitPod("always1", "has the second restart behind it", func(p *corev1.Pod) bool {
		return restarts(p, "app") == 2 && waits(p, "app", "CrashLoopBackOff")
	})
	if got, want := status(&pod, "app").State.Waiting.Message, "back-off 20s restarting failed container=app pod="+pod.Name+"_default("+string(pod.UID)+")"; got != want {
		t.Errorf("message %q, want %q", got, want)
	}
	n.awaitEvent("always1", "BackOff: ")
}

// TestKilledApps kills apps from outside and by the kernel's OOM killer.
func TestKilledApps(t *testing.T) {
	n := startNode(t)
	limit := "resources: {limits: {memory: 16Mi}}"
	n.apply("killed.yaml", podOf("killed", apps(sh("app", forever), sh("other", forever))))
	n.apply("greedy.yaml", podOf("greedy", "restartPolicy: Never", apps(sh("app", "exec tail /dev/zero", limit))))
	n.apply("again.yaml", podOf("again", diskV,
		apps(sh("app", "test -e /v/once && "+forever+"; touch /v/once; exec tail /dev/zero", onV, limit), sh("other", forever))))
	n.apply("greedyinit.yaml", podOf("greedyinit", "restartPolicy: Never", inits(sh("init", "exec tail /dev/zero", limit)), apps(sh("app", "true"))))

	killed := n.awaitRunning("killed")
	n.killContainer(killed, "app")
	after := n.awaitPod("killed", "is restarted", func(p *corev1.Pod) bool { return running(p, "app", 1) })
	if e := status(&after, "app").LastTerminationState.Terminated; e == nil || e.ExitCode != 137 || e.Reason != "Error" || e.ContainerID != status(&killed, "app").ContainerID {
		t.Errorf("how the killed app ended: %+v", e)
	}
	if s := status(&after, "other"); s.RestartCount != 0 || s.ContainerID != status(&killed, "other").ContainerID {
		t.Errorf("the other container was touched: %+v", s)
	}
	if status(&after, "app").RestartCount != 1 || after.Status.PodIP != killed.Status.PodIP {
		t.Errorf("status %+v", after.Status)
	}

	greedy := n.awaitPhase("greedy", corev1.PodFailed)
	if e := ended(&greedy, "app"); e.Reason != "OOMKilled" || e.ExitCode != 137 {
		t.Errorf("how the greedy app ended: %+v", e)
	}
	greedyinit := n.awaitPhase("greedyinit", corev1.PodFailed)
	if e := ended(&greedyinit, "init"); e.Reason != "OOMKilled" || e.ExitCode != 137 {
		t.Errorf("how the greedy init container ended: %+v", e)
	}
	again := n.awaitPod("again", "is restarted", func(p *corev1.Pod) bool { return running(p, "app", 1) })
	if s := status(&again, "app"); s.LastTerminationState.Terminated == nil || s.LastTerminationState.Terminated.Reason != "OOMKilled" {
		t.Errorf("status after an OOM kill: %+v", s)
	}
	if s := status(&again, "other"); s.RestartCount != 0 {
		t.Errorf("the other container was touched: %+v", s)
	}
}
