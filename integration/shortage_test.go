// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
)

const mebi = 1 << 20

// evictions are the Pods that were evicted, in their order: events are named by the time.
func (n *node) evictions() []string {
	n.t.Helper()
	var list corev1.EventList
	if err := n.get("/api/v1/events", &list); err != nil {
		n.t.Fatal(err)
	}
	slices.SortFunc(list.Items, func(a, b corev1.Event) int {
		return strings.Compare(a.Name[strings.LastIndex(a.Name, "."):], b.Name[strings.LastIndex(b.Name, "."):])
	})
	var out []string
	for _, e := range list.Items {
		if e.Reason == "Evicted" && e.InvolvedObject.Kind == "Pod" {
			out = append(out, e.InvolvedObject.Name)
		}
	}
	return out
}

// inMemory is a Pod that writes so many MiB into memory that is its own.
func inMemory(name string, mib int, more ...string) string {
	return podOf(name, "volumes: [{name: v, emptyDir: {medium: Memory, sizeLimit: 1Gi}}]",
		apps(sh("app", fmt.Sprintf("dd if=/dev/zero of=/v/file bs=1M count=%d 2>/dev/null; echo end; %s", mib, forever), append(more, onV)...)))
}

// TestMemoryOfAllPodsRunsShort leaves the Pods little of the machine's memory: the one
// that takes the most beyond its request is evicted, and afterwards the node takes no
// BestEffort Pods for a while.
func TestMemoryOfAllPodsRunsShort(t *testing.T) {
	capacity := machineMemory(t)
	n := startNode(t, "--reserved-memory", fmt.Sprint(capacity-256*mebi), "--eviction-hard", "memory.available<64Mi")
	object := n.nodeObject()
	if left := object.Status.Allocatable.Memory().Value(); left != 192*mebi {
		t.Errorf("allocatable memory %d, want 256Mi less the threshold", left)
	}
	n.create(inMemory("modest", 60, "resources: {requests: {memory: 128Mi}}"))
	modest := n.awaitRunning("modest")
	n.awaitLine(modest, "app", 0, "end")
	if n.nodeCondition(corev1.NodeMemoryPressure).Status != corev1.ConditionFalse {
		t.Error("the node is short of memory already")
	}
	n.create(inMemory("greedy", 150))
	greedy := n.awaitPhase("greedy", corev1.PodFailed)
	if want := "The node was low on resource: memory. Threshold quantity: 64Mi, available: "; greedy.Status.Reason != "Evicted" || !strings.HasPrefix(greedy.Status.Message, want) ||
		!strings.Contains(greedy.Status.Message, "Container app was using ") || !strings.Contains(greedy.Status.Message, ", request is 0, has larger consumption of memory. ") {
		t.Errorf("%s: %s", greedy.Status.Reason, greedy.Status.Message)
	}
	n.create(podOf("besteffort", apps(sh("app", forever))))
	n.create(podOf("burstable", apps(sh("app", forever, "resources: {requests: {memory: 1Mi}}"))))
	n.awaitRunning("burstable")
	n.awaitPod("besteffort", "waits for memory", func(p *corev1.Pod) bool {
		return condition(p, corev1.PodScheduled).Reason == corev1.PodReasonUnschedulable
	})
	if c := n.nodeCondition(corev1.NodeMemoryPressure); c.Status != corev1.ConditionTrue || c.Reason != "KubeletHasInsufficientMemory" {
		t.Errorf("%+v", c)
	}
	if p := n.awaitRunning("modest"); !running(&p, "app", 0) {
		t.Errorf("modest is %s", p.Status.Phase)
	}
}

// TestMemoryOfTheMachineRunsShort sets the threshold above what the machine has
// available: Pods go one after another, first who uses the most beyond its request.
func TestMemoryOfTheMachineRunsShort(t *testing.T) {
	n := startNode(t)
	n.create(inMemory("modest", 20, "resources: {requests: {memory: 512Mi}}"))
	n.create(inMemory("greedy", 200))
	n.create(podOf("critical", "priorityClassName: system-node-critical", apps(sh("app", forever))))
	for _, name := range []string{"modest", "greedy"} {
		p := n.awaitRunning(name)
		n.awaitLine(p, "app", 0, "end")
	}
	n.awaitRunning("critical")
	if got := n.evictions(); len(got) != 0 {
		t.Fatalf("evicted before: %v", got)
	}
	n.terminate()
	n.flags = append(n.flags, "--eviction-hard", fmt.Sprintf("memory.available<%d", machineMemory(t)-mebi)) // of which more is always used
	n.start()
	for _, name := range []string{"greedy", "modest"} {
		p := n.awaitPhase(name, corev1.PodFailed)
		if !strings.HasPrefix(p.Status.Message, "The node was low on resource: memory. Threshold quantity: ") || strings.Contains(p.Status.Message, "has larger consumption") != (name == "greedy") {
			t.Errorf("%s: %s", name, p.Status.Message)
		}
	}
	if got := n.evictions(); !slices.Equal(got, []string{"greedy", "modest"}) {
		t.Errorf("evicted in the order %v", got)
	}
	if p := n.awaitRunning("critical"); !running(&p, "app", 0) {
		t.Errorf("critical is %s", p.Status.Phase)
	}
}

func machineMemory(t *testing.T) int64 {
	t.Helper()
	data, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		t.Fatal(err)
	}
	var kib int64
	if _, err := fmt.Sscanf(string(data), "MemTotal: %d kB", &kib); err != nil {
		t.Fatal(err)
	}
	return kib << 10
}

// smallDisk is a file system of its own for a node, gone after the test.
func smallDisk(t *testing.T, mib int) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: a file system is mounted")
	}
	dir, err := os.MkdirTemp("", "mk")
	if err != nil {
		t.Fatal(err)
	}
	image, mount := filepath.Join(dir, "image"), filepath.Join(dir, "m")
	t.Cleanup(func() {
		if err := unix.Unmount(mount, 0); err != nil && !errors.Is(err, unix.EINVAL) {
			t.Errorf("unmount the small disk: %v", err)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := errors.Join(os.WriteFile(image, nil, 0o600), os.Truncate(image, int64(mib)*mebi), os.Mkdir(mount, 0o755)); err != nil {
		t.Fatal(err)
	}
	for _, command := range [][]string{{"mkfs.ext4", "-q", "-m", "0", image}, {"mount", "-o", "loop", image, mount}} {
		if out, err := exec.Command(command[0], command[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", command, err, out)
		}
	}
	return filepath.Join(mount, "n")
}

// TestDiskRunsShort fills a small disk: first the records of ended Pods go, and when
// that is not enough, the Pod that takes the most.
func TestDiskRunsShort(t *testing.T) {
	n := newNodeIn(t, smallDisk(t, 512))
	n.flags = append(n.flags, "--log-max-size", "64Mi")
	n.start()
	write := "dd if=/dev/zero of=%s bs=1M count=%d 2>/dev/null; "
	n.create(podOf("ended", succeeds, apps(sh("app", "dd if=/dev/zero bs=1M count=50 2>/dev/null | tr '\\0' x"))))
	ended := n.awaitPhase("ended", corev1.PodSucceeded)
	n.create(podOf("modest", diskV, apps(sh("app", fmt.Sprintf(write, "/v/file", 5)+"echo end; "+forever, onV))))
	n.create(podOf("greedy", diskV, apps(sh("app", "until test -e /v/first; do sleep 0.1; done; "+fmt.Sprintf(write, "/v/1", 80)+
		"until test -e /v/second; do sleep 0.1; done; "+fmt.Sprintf(write, "/v/2", 70)+forever, onV))))
	modest, greedy := n.awaitRunning("modest"), n.awaitRunning("greedy")
	n.awaitLine(modest, "app", 0, "end")
	n.terminate()
	var disk unix.Statfs_t
	if err := unix.Statfs(n.path("data"), &disk); err != nil {
		t.Fatal(err)
	}
	free := int64(disk.Bavail) * disk.Bsize
	threshold := free - 60*mebi
	if threshold < 160*mebi {
		t.Fatalf("the small disk is too small: %d bytes are free", free)
	}
	n.flags = append(n.flags, "--eviction-hard", fmt.Sprintf("nodefs.available<%d", threshold))
	n.start()
	touch := func(name string) {
		t.Helper()
		if err := os.WriteFile(n.path("data", "pods", string(greedy.UID), "volumes", "kubernetes.io~empty-dir", "v", name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}

	// 80 MiB more are 20 too many, and the ended Pod's log has 50.
	touch("first")
	n.eventually("the ended Pod's log is gone", func() bool {
		_, err := os.Stat(n.logPath(ended, "app", 0))
		return errors.Is(err, fs.ErrNotExist)
	})
	n.eventually("the node is short of disk", func() bool { return n.nodeCondition(corev1.NodeDiskPressure).Status == corev1.ConditionTrue })
	if p := n.awaitPhase("ended", corev1.PodSucceeded); ended.Status.ContainerStatuses[0].State.Terminated == nil || p.Status.ContainerStatuses[0].State.Terminated == nil ||
		*p.Status.ContainerStatuses[0].State.Terminated != *ended.Status.ContainerStatuses[0].State.Terminated {
		t.Errorf("the ended Pod's status changed: %+v", p.Status)
	}

	// 70 more are too many.
	touch("second")
	p := n.awaitPhase("greedy", corev1.PodFailed)
	if want := fmt.Sprintf("The node was low on resource: ephemeral-storage. Threshold quantity: %d, available: ", threshold); p.Status.Reason != "Evicted" || !strings.HasPrefix(p.Status.Message, want) {
		t.Errorf("%s: %s", p.Status.Reason, p.Status.Message)
	}
	n.eventually("there is room again", func() bool {
		return unix.Statfs(n.path("data"), &disk) == nil && int64(disk.Bavail)*disk.Bsize > threshold
	})
	if got := n.evictions(); !slices.Equal(got, []string{"greedy"}) {
		t.Errorf("evicted: %v", got)
	}
	if p := n.awaitRunning("modest"); !running(&p, "app", 0) {
		t.Errorf("modest is %s", p.Status.Phase)
	}
}
