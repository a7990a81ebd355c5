// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	corev1 "k8s.io/api/core/v1"
)

// The manifests of these tests are made of few words: a Pod of lines of its spec,
// and containers of busybox with a shell script.

// onV mounts the volume v.
const onV = "volumeMounts: [{name: v, mountPath: /v}]"

// diskV is the volume v: an emptyDir on disk.
const diskV = "volumes: [{name: v, emptyDir: {}}]"

// podOf is the manifest of a Pod with these lines of its spec. It has next to no
// grace period: the scripts do not listen to signals.
func podOf(name string, spec ...string) string {
	if !slices.ContainsFunc(spec, func(s string) bool { return strings.HasPrefix(s, "terminationGracePeriodSeconds") }) {
		spec = append(spec, "terminationGracePeriodSeconds: 1")
	}
	return podHead(name) + "\n  " + strings.Join(spec, "\n  ") + "\n"
}

// podHead is a manifest up to the lines of the Pod's spec.
func podHead(name string) string {
	return "apiVersion: v1\nkind: Pod\nmetadata: {name: " + name + "}\nspec:"
}

func inits(containers ...string) string {
	return "initContainers: [" + strings.Join(containers, ", ") + "]"
}

func apps(containers ...string) string { return "containers: [" + strings.Join(containers, ", ") + "]" }

// sh is a container that runs a script, with more fields.
func sh(name, script string, more ...string) string {
	return busybox(name, append([]string{"command: [sh, -c, " + quote(script) + "]"}, more...)...)
}

// busybox is a container of the test image.
func busybox(name string, fields ...string) string {
	return "{name: " + name + ", image: busybox, imagePullPolicy: Never, " + strings.Join(fields, ", ") + "}"
}

// quote makes a YAML string of one line.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

// forever is the end of scripts that go on until they are killed.
const forever = "exec sleep 100000"

// status is that of one container of the Pod; nil if there is none yet.
func status(p *corev1.Pod, name string) *corev1.ContainerStatus {
	for _, list := range [][]corev1.ContainerStatus{p.Status.InitContainerStatuses, p.Status.ContainerStatuses} {
		for i := range list {
			if list[i].Name == name {
				return &list[i]
			}
		}
	}
	return nil
}

// restarts is how often one container was restarted; 0 while it has no status.
func restarts(p *corev1.Pod, name string) int32 {
	if s := status(p, name); s != nil {
		return s.RestartCount
	}
	return 0
}

// running says whether a container runs, at least for the given time over.
func running(p *corev1.Pod, name string, restarts int32) bool {
	s := status(p, name)
	return s != nil && s.State.Running != nil && s.RestartCount >= restarts
}

// waits says whether a container waits for this reason.
func waits(p *corev1.Pod, name, reason string) bool {
	s := status(p, name)
	return s != nil && s.State.Waiting != nil && s.State.Waiting.Reason == reason
}

// ended is how a container ended, also while it waits to be started again; nil if
// it did not.
func ended(p *corev1.Pod, name string) *corev1.ContainerStateTerminated {
	s := status(p, name)
	switch {
	case s == nil:
		return nil
	case s.State.Terminated != nil:
		return s.State.Terminated
	}
	return s.LastTerminationState.Terminated
}

// awaitRunning waits until all containers of a Pod run.
func (n *node) awaitRunning(name string) corev1.Pod {
	n.t.Helper()
	return n.awaitPod(name, "all containers run", func(p *corev1.Pod) bool {
		for _, s := range p.Status.ContainerStatuses {
			if s.State.Running == nil {
				return false
			}
		}
		return len(p.Status.ContainerStatuses) == len(p.Spec.Containers)
	})
}

// awaitLine waits until a line is in a container's log and returns all of it.
func (n *node) awaitLine(pod corev1.Pod, container string, attempt int, line string) []string {
	n.t.Helper()
	var lines []string
	n.eventually(container+" of "+pod.Name+" writes "+line, func() bool {
		if _, err := os.Stat(n.logPath(pod, container, attempt)); err != nil {
			return false
		}
		lines = n.log(pod, container, attempt)
		return slices.Contains(lines, line)
	}, func() string { return strings.Join(lines, "\n") })
	return lines
}

// said is what a container that ends with "echo end" wrote before that.
func (n *node) said(pod corev1.Pod, container string) []string {
	n.t.Helper()
	lines := n.awaitLine(pod, container, 0, "end")
	return lines[:slices.Index(lines, "end")]
}

func (n *node) logPath(pod corev1.Pod, container string, attempt int) string {
	return filepath.Join(n.path("log"), pod.Namespace+"_"+pod.Name+"_"+string(pod.UID), container, strconv.Itoa(attempt)+".log")
}

// awaitEvent waits until an event of a Pod begins like this and returns it.
func (n *node) awaitEvent(pod, beginning string) string {
	n.t.Helper()
	var all []string
	found := -1
	n.eventually(pod+" has the event "+beginning, func() bool {
		all = n.events(pod)
		found = slices.IndexFunc(all, func(e string) bool { return strings.HasPrefix(e, beginning) })
		return found >= 0
	}, func() string { return strings.Join(all, "\n") })
	return all[found]
}

// cgroupDirs are the directories of a Pod's cgroup, or of what is below it, in all
// hierarchies.
func (n *node) cgroupDirs(pod corev1.Pod, below ...string) []string {
	class := ""
	if q := pod.Status.QOSClass; q != corev1.PodQOSGuaranteed {
		class = strings.ToLower(string(q))
	}
	inside := filepath.Join(append([]string{"minikubelet-" + n.instance(), class, "pod" + string(pod.UID)}, below...)...)
	var dirs []string
	for _, mount := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/*"} {
		found, _ := filepath.Glob(filepath.Join(mount, inside))
		dirs = append(dirs, found...)
	}
	return dirs
}

// cgroupValue reads the first of these files that the kernel has: give the v1 name
// and the v2 name. container is empty for the Pod's own cgroup.
func (n *node) cgroupValue(pod corev1.Pod, container string, files ...string) string {
	n.t.Helper()
	var below []string
	if container != "" {
		below = []string{containerID(&pod, container)}
	}
	for _, file := range files {
		for _, dir := range n.cgroupDirs(pod, below...) {
			if data, err := os.ReadFile(filepath.Join(dir, file)); err == nil {
				return strings.TrimSpace(string(data))
			}
		}
	}
	n.t.Fatalf("no cgroup file %v of %s %s in %v", files, pod.Name, container, n.cgroupDirs(pod, below...))
	return ""
}

func containerID(pod *corev1.Pod, container string) string {
	_, id, _ := strings.Cut(status(pod, container).ContainerID, "://")
	return id
}

// pids are the processes in a cgroup of the Pod, the oldest first.
func (n *node) pids(pod corev1.Pod, id string) []int {
	began := make(map[int]int)
	for _, dir := range n.cgroupDirs(pod, id) {
		data, _ := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
		for _, field := range strings.Fields(string(data)) {
			pid, err := strconv.Atoi(field)
			if err != nil {
				continue
			}
			if ticks, there := startedAt(pid); there {
				began[pid] = ticks
			}
		}
	}
	return slices.SortedFunc(maps.Keys(began), func(a, b int) int { return cmp.Or(began[a]-began[b], a-b) })
}

// startedAt is when a process was started, in ticks of the machine's time. Its ID does
// not tell: after the highest one, the lowest are given again.
func startedAt(pid int) (ticks int, there bool) {
	const startTime = 22 - 3 // of proc(5); the state is the first field behind the name
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	fields := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:]))
	if err != nil || len(fields) <= startTime {
		return 0, false
	}
	ticks, err = strconv.Atoi(fields[startTime])
	return ticks, err == nil
}

// killContainer kills the first process of a container from outside.
func (n *node) killContainer(pod corev1.Pod, container string) {
	n.t.Helper()
	n.killIn(pod, containerID(&pod, container))
}

// killPause kills the process that holds the Pod's sandbox.
func (n *node) killPause(pod corev1.Pod) {
	n.t.Helper()
	known := make(map[string]bool)
	for _, list := range [][]corev1.ContainerStatus{pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses} {
		for _, s := range list {
			known[containerID(&pod, s.Name)] = true
		}
	}
	for _, dir := range n.cgroupDirs(pod, "*") {
		if id := filepath.Base(dir); !known[id] && len(n.pids(pod, id)) > 0 {
			n.killIn(pod, id)
			return
		}
	}
	n.t.Fatalf("no pause container of %s found", pod.Name)
}

func (n *node) killIn(pod corev1.Pod, id string) {
	n.t.Helper()
	pids := n.pids(pod, id)
	if len(pids) == 0 {
		n.t.Fatalf("no process in container %s of %s", id, pod.Name)
	}
	if err := syscall.Kill(pids[0], syscall.SIGKILL); err != nil {
		n.t.Fatal(err)
	}
}
