// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// crashApp is a busybox container without volumes.
func crashApp(name, script string) string {
	return "  - {name: " + name + ", image: busybox, imagePullPolicy: IfNotPresent, command: [sh, -c, '" + script + "']}\n"
}

// crashPod is a manifest of containers made by crashApp.
func crashPod(name, policy, init, apps, more string) string {
	if init != "" {
		init = "  initContainers:\n" + init
	}
	return podHead(name) + "\n  restartPolicy: " + policy +
		"\n  terminationGracePeriodSeconds: 1\n" + more + init + "  containers:\n" + apps
}

// TestContainersEndWhileTheAgentIsDown stops the agent while containers end, and
// starts another version of the program, at another path.
func TestContainersEndWhileTheAgentIsDown(t *testing.T) {
	n := startNode(t)
	n.apply("job.yaml", crashPod("job", "Never", "", crashApp("a", "sleep 2; echo done; exit 7"), ""))
	n.apply("stay.yaml", crashPod("stay", "Always", "", crashApp("a", "sleep 1000"), ""))
	n.apply("again.yaml", crashPod("again", "OnFailure", crashApp("first", "echo first"), crashApp("a", "echo begun; sleep 2; exit 1"), ""))
	for _, name := range []string{"job", "again"} {
		n.awaitPhase(name, corev1.PodRunning)
	}
	before := n.awaitPhase("stay", corev1.PodRunning)
	if code := n.terminate(); code != 0 {
		t.Errorf("the agent ended with %d", code)
	}
	stopped := time.Now()
	time.Sleep(3 * time.Second)
	started := time.Now()
	other := n.path("minikubelet")
	copyFile(t, n.bin, other)
	if err := os.Chmod(other, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, beside := range []string{"runc", "containerd-shim-minikubelet-v1"} { // for a program without them inside
		if path := filepath.Join(filepath.Dir(n.bin), beside); n.external == nil {
			_ = os.Symlink(path, n.path(beside))
		}
	}
	if n.external == nil {
		n.bin = other
	}
	n.start()
	n.expectExit("job", 7)
	n.expectSame(before, "stay")
	job := n.pods()["job"]
	// Kubernetes' times have whole seconds.
	if at := job.Status.ContainerStatuses[0].State.Terminated.FinishedAt.Time; at.Before(stopped.Add(-time.Second)) || at.After(started) {
		t.Errorf("job finished at %v; the agent was down from %v to %v", at, stopped, started)
	}
	if got := n.log(job, "a", 0); len(got) != 1 || got[0] != "done" {
		t.Errorf("job logged %q", got)
	}
	again := n.awaitPod("again", "restarts", func(p *corev1.Pod) bool {
		s := p.Status.ContainerStatuses
		return len(s) == 1 && s[0].RestartCount > 0 && s[0].LastTerminationState.Terminated != nil
	})
	if end := again.Status.ContainerStatuses[0].LastTerminationState.Terminated; end.ExitCode != 1 {
		t.Errorf("again ended as %+v", end)
	}
	if s := again.Status.InitContainerStatuses[0]; s.RestartCount != 0 || s.State.Terminated == nil {
		t.Errorf("the init container of again is %+v", s)
	}
}

// TestReboot takes away all processes and the run directory.
func TestReboot(t *testing.T) {
	n := startNode(t)
	starts := n.path("starts")
	if err := os.Mkdir(starts, 0o755); err != nil {
		t.Fatal(err)
	}
	note := func(name, then string) string {
		return "  - {name: " + name + ", image: busybox, imagePullPolicy: IfNotPresent, command: [sh, -c, 'echo " + name +
			" >>/starts/$POD; " + then + "'], env: [{name: POD, valueFrom: {fieldRef: {fieldPath: metadata.name}}}], volumeMounts: [{name: starts, mountPath: /starts}]}\n"
	}
	volumes := "  volumes: [{name: starts, hostPath: {path: " + starts + "}}]\n"
	n.apply("server.yaml", crashPod("server", "Always", note("prepare", ":"), note("serve", "sleep 1000"), volumes))
	n.apply("done.yaml", crashPod("done", "Never", note("prepare", ":"), note("work", "exit 5"), volumes))
	n.apply("under-way.yaml", crashPod("under-way", "Never", "", note("work", "sleep 1000"), volumes))
	n.awaitPhase("done", corev1.PodFailed)
	n.awaitPhase("under-way", corev1.PodRunning)
	before := n.awaitPhase("server", corev1.PodRunning)
	n.eventually("exit and starts are on record", func() bool {
		data, _ := os.ReadFile(filepath.Join(starts, "server-"+nodeName))
		return strings.Count(string(data), "\n") == 2
	})
	time.Sleep(time.Second)
	n.reboot()
	n.start()

	n.expectExit("done", 5)
	if end := n.awaitPhase("under-way", corev1.PodFailed).Status.ContainerStatuses[0].State.Terminated; end == nil || end.ExitCode != 255 || end.Reason != "Unknown" {
		t.Errorf("the job that was under way ended as %+v", end)
	}
	after := n.awaitPod("server", "runs again", func(p *corev1.Pod) bool {
		s := p.Status.ContainerStatuses
		return len(s) == 1 && s[0].State.Running != nil && s[0].ContainerID != before.Status.ContainerStatuses[0].ContainerID
	})
	if count := after.Status.ContainerStatuses[0].RestartCount; count != 1 {
		t.Errorf("server has %d restarts, want 1", count)
	}
	for pod, want := range map[string]string{
		"server": "prepare serve prepare serve", "done": "prepare work", "under-way": "work",
	} {
		n.eventually(pod+" has started "+want, func() bool {
			data, _ := os.ReadFile(filepath.Join(starts, pod+"-"+nodeName))
			return len(strings.Fields(string(data))) >= len(strings.Fields(want))
		})
		data, _ := os.ReadFile(filepath.Join(starts, pod+"-"+nodeName))
		if got := strings.Join(strings.Fields(string(data)), " "); got != want {
			t.Errorf("%s started %q, want %q", pod, got, want)
		}
	}
}

// reboot ends the agent, all shims and all containers, and loses what is on a
// tmpfs on a real node, mounts, interfaces and cgroups included.
func (n *node) reboot() {
	n.t.Helper()
	var pids []int
	for _, cgroup := range n.podCgroups() {
		_ = filepath.WalkDir(strings.TrimPrefix(cgroup, "cgroup "), func(path string, d os.DirEntry, err error) error {
			if err == nil && d.Name() == "cgroup.procs" {
				data, _ := os.ReadFile(path)
				for _, field := range strings.Fields(string(data)) {
					if pid, err := strconv.Atoi(field); err == nil && pid > 1 {
						pids = append(pids, pid)
					}
				}
			}
			return nil
		})
	}
	n.kill()
	n.endExternal(syscall.SIGKILL)
	for _, line := range n.processes() {
		if pid, _ := strconv.Atoi(filepath.Base(strings.SplitN(line, ":", 2)[0])); pid > 1 {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
	for _, pid := range pids {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	n.eventually("all processes are gone", func() bool { return len(n.processes()) == 0 })
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		n.t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	for i := len(lines) - 1; i >= 0; i-- { // those on top first
		if at := strings.Fields(lines[i])[4]; strings.HasPrefix(at, n.dir+"/") {
			if err := syscall.Unmount(at, syscall.MNT_DETACH); err != nil {
				n.t.Fatalf("unmount %s: %v", at, err)
			}
		}
	}
	if err := os.RemoveAll(n.path("run")); err != nil {
		n.t.Fatal(err)
	}
	if err := os.Mkdir(n.path("run"), 0o711); err != nil {
		n.t.Fatal(err)
	}
	for _, cgroup := range n.podCgroups() { // deepest first
		root := strings.TrimPrefix(cgroup, "cgroup ")
		n.eventually("cgroup "+root+" is gone", func() bool { return removeCgroups(root) == nil })
	}
	if os.Getenv(externalEngines) != "" {
		n.startExternal()
	}
}

// removeCgroups removes a cgroup and those in it.
func removeCgroups(dir string) error {
	entries, err := os.ReadDir(dir)
	if os.IsNotExist(err) {
		return nil
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := removeCgroups(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	if err := syscall.Rmdir(dir); err != nil && err != syscall.ENOENT {
		return err
	}
	return nil
}

// TestTwoNodes runs two agents on one machine with Pods of the same names. What
// one does, its death and its end included, does not concern the other.
func TestTwoNodes(t *testing.T) {
	left, right := newNode(t), newNode(t)
	ports := map[*node]int{left: freePort(t), right: freePort(t)}
	before := make(map[*node]corev1.Pod)
	for _, n := range []*node{left, right} {
		n.start()
		n.apply("web.yaml", crashPod("web", "Always", crashApp("first", "echo first"),
			"  - {name: a, image: busybox, imagePullPolicy: IfNotPresent, command: [sh, -c, 'exec httpd -f -p 80'], ports: [{containerPort: 80, hostPort: "+fmt.Sprint(ports[n])+"}]}\n", ""))
	}
	for _, n := range []*node{left, right} {
		before[n] = n.awaitPhase("web", corev1.PodRunning)
		n.awaitHTTP(ports[n])
	}
	if l, r := before[left], before[right]; l.UID == r.UID || l.Status.PodIP == r.Status.PodIP ||
		l.Status.ContainerStatuses[0].ContainerID == r.Status.ContainerStatuses[0].ContainerID {
		t.Errorf("the nodes share an identity or an address: %s %s, %s %s", l.UID, l.Status.PodIP, r.UID, r.Status.PodIP)
	}
	left.kill()
	left.start() // its sweep finds what is the other's
	left.expectSame(before[left], "web")
	right.expectSame(before[right], "web")

	left.remove("web.yaml")
	left.awaitGone("web")
	right.awaitHTTP(ports[right])
	left.terminate()
	if out, err := left.try("stop", "--pods"); err != nil {
		t.Errorf("stop: %v\n%s", err, out)
	}
	for _, l := range left.leftovers() {
		if !left.ownProcess(l) {
			t.Errorf("left behind by one node: %s", l)
		}
	}
	right.expectSame(before[right], "web")
	right.awaitHTTP(ports[right])
	if len(right.veths()) != 1 || len(right.mappings()) == 0 || len(right.podCgroups()) == 0 {
		t.Errorf("the other node has interfaces %q, mappings %q, cgroups %q", right.veths(), right.mappings(), right.podCgroups())
	}
}
