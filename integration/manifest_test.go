// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"os"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// TestChangedManifests changes manifests of running Pods: an app's image restarts
// that container, an init container's image the Pod, anything else replaces it.
func TestChangedManifests(t *testing.T) {
	n := newNode(t)
	if out, err := n.try("image", "import", "--name", "docker.io/library/other:1", archive(t)); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	n.start()
	manifest := func(initImage, appImage, script string) string {
		m := podOf("changing", inits(sh("init", "echo init >>/v/trace", onV)), apps(sh("app", script, onV), sh("other", forever)), diskV)
		m = strings.Replace(m, "name: init, image: busybox", "name: init, image: "+initImage, 1)
		return strings.Replace(m, "name: app, image: busybox", "name: app, image: "+appImage, 1)
	}
	const script = "echo app >>/v/trace; cat /v/trace | tr '\\n' ' '; echo; echo end; " + forever
	trace := func(pod corev1.Pod, attempt int) string {
		return strings.TrimSpace(n.awaitLine(pod, "app", attempt, "end")[0])
	}
	n.apply("changing.yaml", manifest("busybox", "busybox", script))
	first := n.awaitRunning("changing")
	if got := trace(first, 0); got != "init app" {
		t.Errorf("trace %q", got)
	}

	n.apply("changing.yaml", manifest("busybox", "other:1", script))
	second := n.awaitPod("changing", "runs the other image", func(p *corev1.Pod) bool {
		return p.Spec.Containers[0].Image == "other:1" && running(p, "app", 1)
	})
	if got := trace(second, 1); got != "init app app" {
		t.Errorf("after the change of the app's image: trace %q", got)
	}
	if second.UID != first.UID || second.Status.PodIP != first.Status.PodIP || containerID(&second, "other") != containerID(&first, "other") {
		t.Errorf("more than the app's container was restarted: %+v", second.Status)
	}

	n.apply("changing.yaml", manifest("other:1", "other:1", script))
	third := n.awaitPod("changing", "started afresh", func(p *corev1.Pod) bool {
		return p.Spec.InitContainers[0].Image == "other:1" && running(p, "app", 2) && running(p, "other", 1)
	})
	if got := trace(third, 2); got != "init app app init app" {
		t.Errorf("after the change of the init container's image: trace %q", got)
	}
	if third.UID != first.UID || status(&third, "init").RestartCount != 1 {
		t.Errorf("status %+v", third.Status)
	}

	n.apply("changing.yaml", manifest("other:1", "other:1", "echo new; "+script))
	fourth := n.awaitPod("changing", "is another Pod", func(p *corev1.Pod) bool { return p.UID != first.UID && running(p, "app", 0) })
	if got := n.awaitLine(fourth, "app", 0, "end"); got[0] != "new" || strings.TrimSpace(got[1]) != "init app" {
		t.Errorf("the new Pod wrote %q", got)
	}
	for _, what := range []string{n.path("data/pods", string(first.UID)), n.logPath(first, "app", 0)} {
		if _, err := os.Stat(what); err == nil {
			t.Errorf("the old Pod's %s is still there", what)
		}
	}

	n.remove("changing.yaml")
	n.awaitGone("changing")
}

// TestBrokenManifests change nothing that runs, and are reported.
func TestBrokenManifests(t *testing.T) {
	n := startNode(t)
	good := podOf("good", apps(sh("app", forever)))
	n.apply("a.yaml", good)
	before := n.awaitRunning("good")
	reported := func(what ...string) {
		t.Helper()
		n.eventually("the log says "+strings.Join(what, ", "), func() bool {
			data, err := os.ReadFile(n.path("daemon.log"))
			if err != nil {
				t.Fatal(err)
			}
			for line := range strings.Lines(string(data)) {
				if strings.Contains(line, `"ERROR"`) && !missing(line, what) {
					return true
				}
			}
			return false
		})
	}
	n.apply("a.yaml", strings.Replace(good, "containers:", "contianers:", 1))
	reported("a.yaml", "contianers", "document 1")
	n.apply("b.yaml", "this: is: no yaml")
	reported("b.yaml")
	n.apply("c.yaml", podOf("../../etc", apps(sh("app", forever))))
	reported("c.yaml", "metadata.name", "../../etc")
	n.apply("d.yaml", podOf("good", apps(sh("app", "exit 1"))))
	reported("d.yaml", "good-n1", "a.yaml")
	n.apply("e.yaml", podOf("one", apps(sh("app", forever)))+"---\n"+podOf("two", apps(sh("app", forever))))
	n.awaitRunning("one")
	n.awaitRunning("two")
	n.apply("e.yaml", podOf("one", apps(sh("app", forever)))+"---\n"+podOf("two", "restartPolicy: Sometimes", apps(sh("app", forever))))
	reported("e.yaml", "document 2", "spec.restartPolicy", "Sometimes")

	pods := n.pods()
	if len(pods) != 3 {
		t.Errorf("Pods %v, want good, one and two", pods)
	}
	good1 := pods["good"]
	if good1.UID != before.UID || containerID(&good1, "app") != containerID(&before, "app") || good1.DeletionTimestamp != nil {
		t.Errorf("a broken manifest touched the Pod: %+v", good1.Status)
	}
	// With one document less, that Pod ends; the rest of the file stays.
	n.apply("e.yaml", podOf("one", apps(sh("app", forever))))
	n.awaitGone("two")
	if one := n.pods()["one"]; status(&one, "app").RestartCount != 0 || one.DeletionTimestamp != nil || one.UID != pods["one"].UID {
		t.Errorf("the other Pod of the file was touched: %+v", one.Status)
	}
	// The duplicate takes its place when the first one's file goes.
	n.remove("a.yaml")
	n.awaitPod("good", "is the one of d.yaml", func(p *corev1.Pod) bool { return p.UID != before.UID })
}

func missing(line string, parts []string) bool {
	for _, part := range parts {
		if !strings.Contains(line, part) {
			return true
		}
	}
	return false
}

// TestAdmission refuses Pods whose effective requests do not fit, with the numbers.
func TestAdmission(t *testing.T) {
	n := startNode(t, "--max-pods", "4")
	requests := func(list string) string { return "resources: {requests: {" + list + "}}" }
	n.apply("a.yaml", podOf("fits", apps(sh("app", forever, requests("cpu: 300m, memory: 64Mi")))))
	n.awaitRunning("fits")
	n.apply("b.yaml", podOf("cpu", inits(sh("init", "true", requests("cpu: 1000"))), apps(sh("app", "true", requests("cpu: 100m")))))
	n.apply("c.yaml", podOf("memory", apps(sh("app", "true", requests("memory: 1Pi")), sh("more", "true", requests("memory: 1Pi")))))
	for name, want := range map[string][]string{
		"cpu":    {"OutOfcpu", "requested: 1000000, used: 300, capacity: "},
		"memory": {"OutOfmemory", "requested: 2251799813685248, used: 67108864, capacity: "},
	} {
		pod := n.awaitPhase(name, corev1.PodFailed)
		if pod.Status.Reason != want[0] || !strings.Contains(pod.Status.Message, want[1]) {
			t.Errorf("%s: %s: %s, want %s", name, pod.Status.Reason, pod.Status.Message, want)
		}
		if _, err := os.Stat(n.path("data/pods", string(pod.UID))); err == nil {
			t.Errorf("%s: a refused Pod has a directory", name)
		}
		if dirs := n.cgroupDirs(pod); len(dirs) > 0 {
			t.Errorf("%s: a refused Pod has cgroups %v", name, dirs)
		}
	}
	// A refused Pod takes no place: three more fit, a fifth does not.
	for _, name := range []string{"d", "e", "f"} {
		n.apply(name+".yaml", podOf(name, apps(sh("app", forever))))
	}
	for _, name := range []string{"d", "e", "f"} {
		n.awaitRunning(name)
	}
	n.apply("g.yaml", podOf("g", apps(sh("app", forever))))
	if g := n.awaitPhase("g", corev1.PodFailed); g.Status.Reason != "OutOfpods" {
		t.Errorf("the fifth Pod: %s: %s", g.Status.Reason, g.Status.Message)
	}
}
