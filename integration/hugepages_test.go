// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// reserveHugePages has the kernel set pages of 2 MiB aside for the test's time, beyond
// those that there are.
func reserveHugePages(t *testing.T, pages int) {
	t.Helper()
	const file = "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages"
	read := func() int {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Skipf("needs a kernel with pages of 2 MiB: %v", err)
		}
		n, err := strconv.Atoi(strings.TrimSpace(string(data)))
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	write := func(n int) {
		if err := os.WriteFile(file, []byte(strconv.Itoa(n)), 0); err != nil {
			t.Fatal(err)
		}
	}
	before := read()
	t.Cleanup(func() { write(before) })
	if write(before + pages); read() < before+pages {
		t.Skipf("needs %d free pages of 2 MiB: the kernel cannot set them aside now", pages)
	}
}

// TestHugePagesVolume: a volume of huge pages has pages of the size that the Pod asks
// for, shared by its containers, no more than its limit, and none afterwards.
func TestHugePagesVolume(t *testing.T) {
	reserveHugePages(t, 4)
	n := startNode(t)
	const asks = "resources: {requests: {cpu: 10m, memory: 32Mi}, limits: {hugepages-2Mi: 4Mi}}"
	script := "grep -o ' /v hugetlbfs .*pagesize=2M' /proc/mounts | grep -o pagesize.*; fallocate -l 2097152 /v/fits && stat -c '%g %s' /v/fits; " +
		"fallocate -l 4194304 /v/large 2>&1 | grep -o 'No space left on device'; echo end"
	n.apply("huge.yaml", podOf("huge", "restartPolicy: Never", "securityContext: {fsGroup: 4321}",
		"volumes: [{name: v, emptyDir: {medium: HugePages, sizeLimit: 4Mi}}]",
		inits(sh("first", script, onV, asks)), apps(sh("app", "stat -c %s /v/fits; echo end", onV, asks))))
	n.apply("asksnot.yaml", podOf("asksnot", "volumes: [{name: v, emptyDir: {medium: HugePages-2Mi}}]", apps(sh("app", forever, onV))))
	pod := n.awaitPhase("huge", corev1.PodSucceeded)
	if got, want := n.said(pod, "first"), []string{"pagesize=2M", "4321 2097152", "No space left on device"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if got := n.said(pod, "app"); !slices.Equal(got, []string{"2097152"}) {
		t.Errorf("the next container sees %q", got)
	}
	n.awaitEvent("asksnot", `FailedMount: MountVolume.SetUp failed for volume "v" : medium HugePages-2Mi: hugePages storage requested, but there is no resource request for huge pages`)
	n.remove("huge.yaml")
	n.awaitGone("huge")
}
