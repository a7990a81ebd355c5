// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// TestUserNamespaceCommands: what joins a running container is in its user namespace
// too: commands, probes, hooks, ephemeral containers, containers of a shared PID
// namespace.
func TestUserNamespaceCommands(t *testing.T) {
	kubectlPath(t)
	n := newNode(t)
	n.openToAll()
	n.start()
	const mine = "test $(tr -s \" \" </proc/self/uid_map | cut -d \" \" -f 3) -ge 65536 && "
	probe := func(kind, note string) string {
		return kind + ": {periodSeconds: 1, exec: {command: [sh, -c, " + quote(mine+"touch /v/"+note) + "]}}"
	}
	hook := "lifecycle: {postStart: {exec: {command: [sh, -c, " + quote(mine+"touch /v/hook") + "]}}}"
	n.applied(podOf("plain", ownUsers, diskV, apps(
		sh("main", "trap \"exit 3\" TERM; while :; do sleep 0.1; done", onV, probe("startupProbe", "startup"), probe("readinessProbe", "readiness"), hook),
		sh("term", "tty; stat -c \"%u %g\" $(tty); echo end; exec cat", "tty: true", "stdin: true", "securityContext: {runAsUser: 5}"))))
	n.applied(podOf("shared", ownUsers, "shareProcessNamespace: true", apps(sh("main", "cat /proc/1/comm; "+forever), sh("other", forever, "securityContext: {runAsUser: 9}"))))
	pod := n.awaitPod("plain", "ready", podReady)
	_, first, _ := n.userMap(n.pids(pod, containerID(&pod, "main"))[0])
	for _, note := range []string{"startup", "readiness", "hook"} {
		if !exists(n.path("data/pods", string(pod.UID), "volumes/kubernetes.io~empty-dir/v", note)) {
			t.Errorf("no sign of %s", note)
		}
	}
	want := fmt.Sprintf("0 %d 65536", first)
	if got := strings.Join(strings.Fields(n.kubectl("exec", "plain", "-c", "main", "--", "cat", "/proc/self/uid_map")), " "); got != want {
		t.Errorf("exec: users %q, want %q", got, want)
	}
	if got := strings.TrimSpace(n.kubectl("exec", "plain", "-c", "term", "--", "sh", "-c", "id -u; echo out >/dev/stdout; echo err >/dev/stderr")); !strings.Contains(got, "5\nout") || !strings.Contains(got, "err") {
		t.Errorf("exec as another user: %q", got)
	}
	if out, err := n.tryKubectl("given\n", "exec", "-i", "plain", "-c", "main", "--", "cat", "/dev/stdin"); err != nil || !strings.Contains(out, "given") {
		t.Errorf("exec with an input: %v, %q", err, out)
	}
	for i, line := range n.said(pod, "term") {
		if want := []string{"/dev/pts/0", "5 5"}[i]; strings.TrimSpace(line) != want {
			t.Errorf("the terminal: %q, want %q", line, want)
		}
	}
	n.kubectl("debug", "pod/plain", "--image=busybox", "--image-pull-policy=IfNotPresent", "-c", "look", "--profile=general", "--target=main", "--",
		"sh", "-c", "tr -s ' ' </proc/self/uid_map; tr -s ' ' </proc/1/uid_map; echo end; exec sleep 1000")
	n.eventually("the ephemeral container says what it sees", func() bool {
		out, err := n.tryKubectl("", "logs", "plain", "-c", "look")
		return err == nil && strings.Count(out, want) == 2
	})
	shared := n.awaitRunning("shared")
	if got := n.awaitLine(shared, "main", 0, "pause"); len(got) != 1 {
		t.Errorf("process 1 is %q", got)
	}
	if pids := n.pids(shared, containerID(&shared, "other")); owner(t, fmt.Sprintf("/proc/%d", pids[0])) < 65536 {
		t.Error("a user of the machine's own runs in the Pod with a shared PID namespace")
	}
	// A restart of the container finds the same users; deleting waits for its end.
	n.killContainer(pod, "main")
	pod = n.awaitPod("plain", "main runs again", func(p *corev1.Pod) bool { return running(p, "main", 1) })
	if _, again, _ := n.userMap(n.pids(pod, containerID(&pod, "main"))[0]); again != first {
		t.Errorf("users from %d on, before from %d on", again, first)
	}
	n.kubectl("delete", "pod", "plain", "shared", "--wait=false")
	n.awaitGone("plain")
	n.awaitGone("shared")
	for _, left := range n.residue() {
		t.Errorf("left behind: %s", left)
	}
}

// TestUserNamespaceConfines: root with all capabilities, and with /proc unmasked, has
// rights over what is the Pod's and over nothing else.
func TestUserNamespaceConfines(t *testing.T) {
	n := newNode(t)
	n.openToAll()
	n.start()
	panics, err := os.ReadFile("/proc/sys/kernel/panic")
	if err != nil {
		t.Fatal(err)
	}
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	script := "try() { if \"$@\" 2>/dev/null; then echo yes $*; else echo no $*; fi; }; " +
		"try hostname mine; try mount -t tmpfs none /tmp; try mount -t proc proc /tmp; try ip addr add 10.9.9.9/32 dev lo; " +
		"try sh -c \"echo 1 >/proc/sys/net/ipv4/ip_forward\"; try sh -c \"echo 77 >/proc/sys/kernel/panic\"; try sh -c \"echo b >/proc/sysrq-trigger\"; " +
		"try mknod /tmp/sda b 8 0; try mount -t ext4 /dev/sda /tmp; try mount -o remount,rw /sys/fs/cgroup; try chown 70000 /tmp; try nice -n -5 true; echo end; " + forever
	n.apply("all.yaml", podOf("all", ownUsers, apps(sh("app", script, "securityContext: {procMount: Unmasked, capabilities: {add: [ALL]}}"))))
	pod := n.awaitRunning("all")
	want := []string{
		"yes hostname mine", "yes mount -t tmpfs none /tmp", "yes mount -t proc proc /tmp", "yes ip addr add 10.9.9.9/32 dev lo",
		"yes sh -c echo 1 >/proc/sys/net/ipv4/ip_forward", "no sh -c echo 77 >/proc/sys/kernel/panic", "no sh -c echo b >/proc/sysrq-trigger",
		"no mknod /tmp/sda b 8 0", "no mount -t ext4 /dev/sda /tmp", "no mount -o remount,rw /sys/fs/cgroup", "no chown 70000 /tmp", "no nice -n -5 true",
	}
	if got := n.said(pod, "app"); !slices.Equal(got, want) {
		t.Errorf("it may\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if now, _ := os.ReadFile("/proc/sys/kernel/panic"); string(now) != string(panics) {
		t.Errorf("kernel.panic became %s", now)
	}
	if now, _ := os.Hostname(); now != host {
		t.Errorf("the host's name became %s", now)
	}
}

// TestUserNamespaceLasts: a Pod keeps its users when the agent is killed, and with its
// sandbox made anew, and after a reboot, no other Pod has them; what is deleted gives
// them back.
func TestUserNamespaceLasts(t *testing.T) {
	n := newNode(t, "--pod-ids", "65536:196608", "--max-pods", "3") // for three Pods
	testUserNamespaceLasts(t, n)
}

// TestUserNamespacesOfExternalContainerd: the same with a containerd of the machine.
func TestUserNamespacesOfExternalContainerd(t *testing.T) {
	n := newExternalNode(t, "--pod-ids", "65536:196608", "--max-pods", "3")
	testUserNamespaceLasts(t, n)
}

func testUserNamespaceLasts(t *testing.T, n *node) {
	n.openToAll()
	n.start()
	pods := []string{"a", "b", "c"}
	manifest := func(name string) string {
		return podOf(name, ownUsers, diskV, apps(sh("app", "echo $(id -u) >>/v/starts; "+forever, onV)))
	}
	for _, name := range pods {
		n.apply(name+".yaml", manifest(name))
	}
	users := func() map[string]int {
		out, of := make(map[string]int), make(map[int]string)
		for _, name := range pods {
			pod := n.awaitRunning(name)
			_, first, _ := n.userMap(n.pids(pod, containerID(&pod, "app"))[0])
			if other, taken := of[first]; taken {
				t.Errorf("%s and %s both have the users from %d on", other, name, first)
			}
			out[name], of[first] = first, name
		}
		return out
	}
	before := users()
	for _, again := range []func(){n.kill, func() { n.terminate() }} {
		again()
		n.start()
		if now := users(); fmt.Sprint(now) != fmt.Sprint(before) {
			t.Errorf("another agent finds %v, before it was %v", now, before)
		}
	}
	pod := n.awaitRunning("b")
	n.killPause(pod)
	n.awaitPod("b", "has a new sandbox", func(p *corev1.Pod) bool { return running(p, "app", 1) })
	if now := users(); fmt.Sprint(now) != fmt.Sprint(before) { // the only ones that are free
		t.Errorf("with a new sandbox %v, before it was %v", now, before)
	}
	n.reboot()
	n.start()
	n.awaitPod("a", "runs after a reboot", func(p *corev1.Pod) bool { return running(p, "app", 1) })
	n.awaitPod("b", "runs after a reboot", func(p *corev1.Pod) bool { return running(p, "app", 2) })
	n.awaitPod("c", "runs after a reboot", func(p *corev1.Pod) bool { return running(p, "app", 1) })
	users()
	data, err := os.ReadFile(n.path("data/pods", string(pod.UID), "volumes/kubernetes.io~empty-dir/v/starts"))
	if err != nil || string(data) != "0\n0\n0\n" {
		t.Errorf("the volume has %q, %v", data, err)
	}
	// One goes while no agent runs, and another one comes.
	before = users()
	n.kill()
	n.remove("a.yaml")
	n.start()
	n.awaitGone("a")
	n.apply("d.yaml", manifest("d"))
	pods = []string{"b", "c", "d"}
	if now := users(); now["d"] != before["a"] {
		t.Errorf("users %v, before %v", now, before)
	}
}
