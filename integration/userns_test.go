// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

const ownUsers = "hostUsers: false"

// openToAll lets users of Pods reach the node's directories, as they can below
// /var/lib and /run.
func (n *node) openToAll() {
	n.t.Helper()
	if err := os.Chmod(n.dir, 0o711); err != nil {
		n.t.Fatal(err)
	}
}

// userMap is the first line of a process' uid_map: the first user inside, on the node,
// and their number.
func (n *node) userMap(pid int) (inside, first, count int) {
	n.t.Helper()
	for _, file := range []string{"uid_map", "gid_map"} {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, file))
		if err != nil {
			n.t.Fatal(err)
		}
		if _, err := fmt.Sscan(string(data), &inside, &first, &count); err != nil {
			n.t.Fatalf("%s of process %d: %q", file, pid, data)
		}
	}
	return inside, first, count
}

func owner(t *testing.T, path string) int {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return int(info.Sys().(*syscall.Stat_t).Uid)
}

// TestUserNamespaces: root of a Pod with hostUsers: false is another user of the node
// than root, and than that of another Pod; namespaces and files are the Pod's own.
func TestUserNamespaces(t *testing.T) {
	n := newNode(t)
	n.openToAll()
	n.start()
	script := "cat /proc/self/uid_map | tr -s \" \" | cut -d \" \" -f 2,4; id -u; echo mine >/v/f; chown 7 /v/f; stat -c \"%u %g\" /v /v/f /etc/passwd /etc/hosts /root; " +
		"echo out >/dev/stdout; cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/net/ipv4/ping_group_range /proc/sys/kernel/shm_rmid_forced; hostname; echo end; " + forever
	sysctls := "securityContext: {sysctls: [{name: net.ipv4.ip_unprivileged_port_start, value: \"77\"}, {name: kernel.shm_rmid_forced, value: \"1\"}]}"
	n.apply("a.yaml", podOf("a", ownUsers, sysctls, "hostname: alpha", diskV, apps(sh("app", script, onV), sh("other", forever, onV))))
	n.apply("b.yaml", podOf("b", ownUsers, diskV, apps(sh("app", script, onV))))
	n.apply("c.yaml", podOf("c", apps(sh("app", forever))))
	a, b, c := n.awaitRunning("a"), n.awaitRunning("b"), n.awaitRunning("c")

	want := []string{"0 65536", "0", "0 0", "7 0", "0 0", "0 0", "0 0", "out", "77", "0\t65535", "1", "alpha"}
	if got := n.said(a, "app"); !slices.Equal(got, want) {
		t.Errorf("the Pod sees %q, want %q", got, want)
	}
	ranges := make(map[int]string)
	for _, p := range []struct {
		pod       corev1.Pod
		container string
	}{{a, "app"}, {a, "other"}, {b, "app"}} {
		pid := n.pids(p.pod, containerID(&p.pod, p.container))[0]
		inside, first, count := n.userMap(pid)
		if inside != 0 || count != 65536 || first < 65536 || first%65536 != 0 {
			t.Errorf("%s %s: users %d %d %d", p.pod.Name, p.container, inside, first, count)
		}
		if other, taken := ranges[first]; taken && other != p.pod.Name {
			t.Errorf("%s and %s have the same users", other, p.pod.Name)
		}
		ranges[first] = p.pod.Name
		if got := owner(t, fmt.Sprintf("/proc/%d", pid)); got != first {
			t.Errorf("%s: the process is user %d of the node, want %d", p.pod.Name, got, first)
		}
	}
	if len(ranges) != 2 {
		t.Errorf("two Pods have the users %v", ranges)
	}
	if _, first, count := n.userMap(n.pids(c, containerID(&c, "app"))[0]); first != 0 || count != 1<<32-1 {
		t.Errorf("a Pod without hostUsers: false has users %d, %d", first, count)
	}
	// As in Kubernetes, what a Pod writes to a volume belongs to the same numbers on the node.
	if got := owner(t, n.path("data/pods", string(a.UID), "volumes/kubernetes.io~empty-dir/v/f")); got != 7 {
		t.Errorf("user 7's file in the volume belongs to %d", got)
	}
	for _, p := range []corev1.Pod{a, b} {
		pins, _ := filepath.Glob(n.path("run/netns", string(p.UID), "user-*-65536"))
		if len(pins) != 1 || !strings.Contains(pins[0], "user-") {
			t.Errorf("pinned: %v", pins)
		}
	}
}
