// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// resources are those of one container, requests equal to limits.
func resources(cpu, memory string) string {
	both := "{cpu: " + cpu + ", memory: " + memory + "}"
	return "resources: {requests: " + both + ", limits: " + both + "}"
}

// TestCgroupValues reads back what the kernel was told of Pods whose effective
// requests come from their init container or from their apps.
func TestCgroupValues(t *testing.T) {
	n := startNode(t)
	n.apply("initlarger.yaml", podOf("initlarger",
		inits(sh("small", "true", resources("50m", "8Mi")), sh("large", "true", resources("600m", "96Mi"))),
		apps(sh("a", forever, resources("100m", "32Mi")), sh("b", forever, resources("200m", "24Mi")))))
	n.apply("appslarger.yaml", podOf("appslarger",
		inits(sh("init", "true", resources("150m", "40Mi"))),
		apps(sh("a", forever, resources("100m", "32Mi")), sh("b", forever, resources("200m", "24Mi")))))
	n.apply("mixed.yaml", podOf("mixed",
		inits(sh("init", "true", "resources: {requests: {cpu: 250m, memory: 16Mi}}")),
		apps(sh("a", forever, "resources: {requests: {cpu: 100m, memory: 16Mi}, limits: {cpu: 200m, memory: 32Mi}}"), sh("b", forever))))
	n.apply("besteffort.yaml", podOf("besteffort", apps(sh("a", forever))))

	initLarger, appsLarger := n.awaitRunning("initlarger"), n.awaitRunning("appslarger")
	mixed, bestEffort := n.awaitRunning("mixed"), n.awaitRunning("besteffort")
	for _, c := range []struct {
		pod       corev1.Pod
		container string
		class     corev1.PodQOSClass
		shares    int64 // 1024 for a CPU
		quota     string
		memory    string
	}{
		// max(600m, 100m+200m), max(96Mi, 32Mi+24Mi)
		{initLarger, "", corev1.PodQOSGuaranteed, 614, "60000", "100663296"},
		// max(150m, 300m), max(40Mi, 56Mi)
		{appsLarger, "", corev1.PodQOSGuaranteed, 307, "30000", "58720256"},
		{appsLarger, "a", corev1.PodQOSGuaranteed, 102, "10000", "33554432"},
		{appsLarger, "b", corev1.PodQOSGuaranteed, 204, "20000", "25165824"},
		// No limit for the Pod: not every container has one.
		{mixed, "", corev1.PodQOSBurstable, 256, "none", "none"},
		{mixed, "a", corev1.PodQOSBurstable, 102, "20000", "33554432"},
		{mixed, "b", corev1.PodQOSBurstable, 2, "none", "none"},
		{bestEffort, "", corev1.PodQOSBestEffort, 2, "none", "none"},
		{bestEffort, "a", corev1.PodQOSBestEffort, 2, "none", "none"},
	} {
		what := strings.TrimSpace(c.pod.Name + " " + c.container)
		if c.pod.Status.QOSClass != c.class {
			t.Errorf("%s: class %s, want %s", what, c.pod.Status.QOSClass, c.class)
			continue
		}
		n.wantShares(what, n.cgroupValue(c.pod, c.container, "cpu.shares", "cpu.weight"), c.shares, c.container != "")
		if got := cpuQuota(n.cgroupValue(c.pod, c.container, "cpu.cfs_quota_us", "cpu.max")); got != c.quota {
			t.Errorf("%s: CPU quota %s, want %s", what, got, c.quota)
		}
		if got := memoryLimit(n.cgroupValue(c.pod, c.container, "memory.limit_in_bytes", "memory.max")); got != c.memory {
			t.Errorf("%s: memory limit %s, want %s", what, got, c.memory)
		}
	}
	// The parent of the burstable Pods has the sum of their requests; that of the
	// besteffort ones the least.
	n.wantShares("burstable", n.classValue("burstable", "cpu.shares", "cpu.weight"), 256, false)
	n.wantShares("besteffort", n.classValue("besteffort", "cpu.shares", "cpu.weight"), 2, false)

	gone := map[string]corev1.Pod{"initlarger": initLarger, "mixed": mixed, "besteffort": bestEffort}
	for name := range gone {
		n.remove(name + ".yaml")
	}
	for name, pod := range gone {
		n.awaitGone(name)
		if dirs := n.cgroupDirs(pod); len(dirs) > 0 {
			t.Errorf("after the end of %s there are still %v", pod.Name, dirs)
		}
	}
	n.wantShares("burstable, empty", n.classValue("burstable", "cpu.shares", "cpu.weight"), 2, false)
}

// wantShares compares cpu.shares with what the kernel has: under cgroup v2 that is
// a weight, for which the kubelet and the OCI runtime have two scales.
func (n *node) wantShares(what, got string, shares int64, byRuntime bool) {
	n.t.Helper()
	value, err := strconv.ParseInt(got, 10, 64)
	switch {
	case err != nil:
		n.t.Errorf("%s: CPU shares %q", what, got)
	case !cgroupV2() && value != shares, cgroupV2() && !byRuntime && value != 1+(shares-2)*9999/262142:
		n.t.Errorf("%s: CPU shares %d, want %d", what, value, shares)
	}
}

func cgroupV2() bool {
	_, err := os.Stat("/sys/fs/cgroup/cgroup.controllers")
	return err == nil
}

// cpuQuota is in µs for each 100 ms.
func cpuQuota(value string) string {
	quota, _, _ := strings.Cut(value, " ")
	if quota == "-1" || quota == "max" {
		return "none"
	}
	return quota
}

// memoryLimit is in bytes; without one cgroup v1 has a very large number.
func memoryLimit(value string) string {
	if len(value) > len("1000000000000000") || value == "max" {
		return "none"
	}
	return value
}

// classValue reads the first of these files of a QoS class's cgroup.
func (n *node) classValue(class string, files ...string) string {
	n.t.Helper()
	for _, file := range files {
		for _, mount := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/cpu"} {
			if data, err := os.ReadFile(filepath.Join(mount, "minikubelet-"+n.instance(), class, file)); err == nil {
				return strings.TrimSpace(string(data))
			}
		}
	}
	n.t.Fatalf("no file %v of the cgroup %s", files, class)
	return ""
}

// TestPidsLimit lets a Pod run into the limit of its processes, while another one
// starts as ever.
func TestPidsLimit(t *testing.T) {
	n := startNode(t, "--pod-pids-limit", "40")
	const flood = `i=0; while [ $i -lt 60 ]; do sleep 100000 & i=$((i+1)); done; echo all of them; ` + forever
	n.apply("many.yaml", podOf("many", "restartPolicy: Never", apps(sh("app", flood))))
	n.eventually("the flooding Pod meets its limit", func() bool {
		pod, ok := n.pods()["many"]
		if !ok {
			return false
		}
		data, _ := os.ReadFile(n.logPath(pod, "app", 0))
		return strings.Contains(string(data), "can't fork")
	})
	many := n.pods()["many"]
	if slices.Contains(n.log(many, "app", 0), "all of them") {
		t.Error("60 processes were started in spite of the limit of 40")
	}
	n.apply("calm.yaml", podOf("calm", apps(sh("app", forever))))
	if got := n.cgroupValue(n.awaitPhase("calm", corev1.PodRunning), "", "pids.max"); got != "40" {
		t.Errorf("pids.max %s, want 40", got)
	}
	n.apply("few.yaml", podOf("few", "restartPolicy: Never", apps(sh("app", "sleep 0.1 & wait; echo end"))))
	few := n.awaitPhase("few", corev1.PodSucceeded)
	n.said(few, "app")
}
