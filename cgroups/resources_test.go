// SPDX-License-Identifier: Apache-2.0

package cgroups

import (
	"fmt"
	"math"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	corev1 "k8s.io/api/core/v1"
)

func TestMilliCPUToShares(t *testing.T) {
	for milliCPU, want := range map[int64]uint64{
		-1: 2, 0: 2, 1: 2, 2: 2, 3: 3, 100: 102, 250: 256, 1000: 1024, 1500: 1536, 256000: 262144, 300000: 262144, math.MaxInt64: 262144,
	} {
		if got := MilliCPUToShares(milliCPU); got != want {
			t.Errorf("%dm: got %d, want %d", milliCPU, got, want)
		}
	}
}

func TestMilliCPUToQuota(t *testing.T) {
	for milliCPU, want := range map[int64]int64{0: 0, 1: 1000, 5: 1000, 10: 1000, 11: 1100, 500: 50000, 1000: 100000, 2500: 250000} {
		if got := MilliCPUToQuota(milliCPU); got != want {
			t.Errorf("%dm: got %d, want %d", milliCPU, got, want)
		}
	}
	if got := MilliCPUToQuota(math.MaxInt64); got <= 0 || got > 1<<44 {
		t.Errorf("largest: got %d", got)
	}
}

// text spells values as "cpu.shares=2 …".
func text(values []Value) string {
	var s []string
	for _, v := range values {
		s = append(s, v.File+"="+strings.ReplaceAll(v.Value, " ", "/"))
	}
	return strings.Join(s, " ")
}

func TestPodResources(t *testing.T) {
	type containers = []corev1.Container
	podLevel := podOf(nil, requests("cpu", "100m"), corev1.Container{})
	podLevel.Spec.Resources = &corev1.ResourceRequirements{Requests: list("cpu", "500m", "memory", "1Gi"), Limits: list("cpu", "1", "memory", "1Gi")}
	overhead := podOf(nil, limits("cpu", "500m", "memory", "64Mi"))
	overhead.Spec.Overhead = list("cpu", "250m", "memory", "64Mi")
	tests := []struct {
		name   string
		pod    *corev1.Pod
		opts   Options
		v1, v2 string
	}{
		{"best effort", podOf(nil, corev1.Container{}), Options{}, "cpu.shares=2", "cpu.weight=1"},
		{"burstable by request", podOf(nil, requests("cpu", "100m", "memory", "64Mi")), Options{}, "cpu.shares=102", "cpu.weight=4"},
		{
			"guaranteed", podOf(nil, limits("cpu", "500m", "memory", "64Mi")), Options{},
			"cpu.shares=512 cpu.cfs_period_us=100000 cpu.cfs_quota_us=50000 memory.limit_in_bytes=67108864",
			"cpu.weight=20 cpu.max=50000/100000 memory.max=67108864",
		},
		{"a container without limits frees the Pod", podOf(nil, limits("cpu", "500m", "memory", "64Mi"), requests("cpu", "100m")), Options{}, "cpu.shares=614", "cpu.weight=24"},
		{
			"an init container without a memory limit too", podOf(containers{limits("cpu", "1")}, limits("cpu", "500m", "memory", "64Mi")), Options{},
			"cpu.shares=1024 cpu.cfs_period_us=100000 cpu.cfs_quota_us=100000", "cpu.weight=39 cpu.max=100000/100000",
		},
		{
			"the largest init container sizes the limit", podOf(containers{limits("cpu", "1", "memory", "256Mi")}, limits("cpu", "500m", "memory", "64Mi")), Options{},
			"cpu.shares=1024 cpu.cfs_period_us=100000 cpu.cfs_quota_us=100000 memory.limit_in_bytes=268435456",
			"cpu.weight=39 cpu.max=100000/100000 memory.max=268435456",
		},
		{
			"pod-level", podLevel, Options{},
			"cpu.shares=512 cpu.cfs_period_us=100000 cpu.cfs_quota_us=100000 memory.limit_in_bytes=1073741824",
			"cpu.weight=20 cpu.max=100000/100000 memory.max=1073741824",
		},
		{
			"overhead", overhead, Options{},
			"cpu.shares=768 cpu.cfs_period_us=100000 cpu.cfs_quota_us=75000 memory.limit_in_bytes=134217728",
			"cpu.weight=30 cpu.max=75000/100000 memory.max=134217728",
		},
		{"no quota", podOf(nil, limits("cpu", "500m")), Options{NoCPUQuota: true}, "cpu.shares=512", "cpu.weight=20"},
		{"pids", podOf(nil, corev1.Container{}), Options{PidsLimit: 100}, "cpu.shares=2 pids.max=100", "cpu.weight=1 pids.max=100"},
		{
			"huge pages", podOf(nil, limits("hugepages-2Mi", "4Mi", "memory", "64Mi", "cpu", "1")), Options{HugePageSizes: []string{"2MB", "1GB"}},
			"cpu.shares=1024 cpu.cfs_period_us=100000 cpu.cfs_quota_us=100000 memory.limit_in_bytes=67108864 hugetlb.1GB.limit_in_bytes=0 hugetlb.2MB.limit_in_bytes=4194304",
			"cpu.weight=39 cpu.max=100000/100000 memory.max=67108864 hugetlb.1GB.max=0 hugetlb.2MB.max=4194304",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := PodResources(tt.pod, tt.opts)
			if got := text(Files(V1, r)); got != tt.v1 {
				t.Errorf("v1:\n got %s\nwant %s", got, tt.v1)
			}
			if got := text(Files(Hybrid, r)); got != tt.v1 {
				t.Errorf("hybrid:\n got %s\nwant %s", got, tt.v1)
			}
			if got := text(Files(V2, r)); got != tt.v2 {
				t.Errorf("v2:\n got %s\nwant %s", got, tt.v2)
			}
		})
	}
}

func TestContainerResources(t *testing.T) {
	podLevel := podOf(nil, requests("cpu", "100m"))
	podLevel.Spec.Resources = &corev1.ResourceRequirements{Limits: list("cpu", "1", "memory", "64Mi", "hugepages-2Mi", "2Mi")}
	onlyLimit := podOf(nil, corev1.Container{Resources: corev1.ResourceRequirements{Limits: list("cpu", "2")}})
	huge := Options{HugePageSizes: []string{"2MB"}}
	tests := []struct {
		name string
		pod  *corev1.Pod
		opts Options
		want string
	}{
		{"nothing", podOf(nil, corev1.Container{}), Options{Mode: V1}, "cpu.shares=2"},
		{"request", podOf(nil, requests("cpu", "1")), Options{Mode: V1}, "cpu.shares=1024"},
		{"limit without request", onlyLimit, Options{Mode: V1}, "cpu.shares=2048 cpu.cfs_period_us=100000 cpu.cfs_quota_us=200000"},
		{
			"pod-level limits stand in", podLevel, Options{Mode: V1, HugePageSizes: huge.HugePageSizes},
			"cpu.shares=102 cpu.cfs_period_us=100000 cpu.cfs_quota_us=100000 memory.limit_in_bytes=67108864 hugetlb.2MB.limit_in_bytes=2097152",
		},
		{
			"no swap under v1", podOf(nil, limits("memory", "64Mi")), Options{Mode: V1, SwapControl: true},
			"cpu.shares=2 memory.limit_in_bytes=67108864 memory.memsw.limit_in_bytes=67108864",
		},
		{
			"v2 kills the container as a whole", podOf(nil, limits("cpu", "1", "memory", "64Mi")), Options{Mode: V2, SwapControl: true},
			"cpu.weight=100 cpu.max=100000/100000 memory.max=67108864 memory.swap.max=0 memory.oom.group=1",
		},
		{"v2 has no swap without a limit either", podOf(nil, corev1.Container{}), Options{Mode: V2, SwapControl: true}, "cpu.weight=1 memory.swap.max=0 memory.oom.group=1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := ContainerResources(tt.pod, &tt.pod.Spec.Containers[0], tt.opts)
			if got := text(ContainerFiles(tt.opts.Mode, r)); got != tt.want {
				t.Errorf("\n got %s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestWeights(t *testing.T) {
	for shares, want := range map[uint64][2]uint64{
		0: {1, 1}, 2: {1, 1}, 102: {4, 17}, 512: {20, 59}, 1024: {39, 100}, 2048: {79, 174}, 262144: {10000, 10000}, 1 << 40: {10000, 10000},
	} {
		if got := [2]uint64{linearWeight(shares), fittedWeight(shares)}; got != want {
			t.Errorf("%d shares: got %v, want %v", shares, got, want)
		}
	}
	last := [2]uint64{}
	for shares := uint64(2); shares <= 262144; shares += 37 {
		now := [2]uint64{linearWeight(shares), fittedWeight(shares)}
		if now[0] < last[0] || now[1] < last[1] || now[0] < 1 || now[1] > 10000 {
			t.Fatalf("%d shares: %v after %v", shares, now, last)
		}
		last = now
	}
}

func TestFilesOfNothing(t *testing.T) {
	for _, mode := range []Mode{V1, Hybrid, V2} {
		if got := Files(mode, nil); got != nil {
			t.Errorf("%s: %v", mode, got)
		}
		if got := Files(mode, &specs.LinuxResources{}); got != nil {
			t.Errorf("%s: %v", mode, got)
		}
	}
}

func TestHugePageSizeName(t *testing.T) {
	for bytes, want := range map[int64]string{64 << 10: "64KB", 2 << 20: "2MB", 32 << 20: "32MB", 1 << 30: "1GB", 16 << 30: "16GB"} {
		if got := hugePageSizeName(bytes); got != want {
			t.Errorf("%d: got %s, want %s", bytes, got, want)
		}
	}
	for name, want := range map[corev1.ResourceName]string{"hugepages-2Mi": "2MB", "hugepages-1Gi": "1GB", "hugepages-x": "", "hugepages-0": "", "hugepages-1e9999999999": "", "cpu": ""} {
		if got, _ := hugePageSizeOf(name); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
}

func TestOOMScoreAdj(t *testing.T) {
	const node = 4 << 30
	critical := podOf(nil, corev1.Container{})
	critical.Spec.PriorityClassName = "system-node-critical"
	podLevel := podOf(nil, requests("memory", "1Gi"), corev1.Container{})
	podLevel.Spec.Resources = &corev1.ResourceRequirements{Requests: list("memory", "3Gi")}
	withSidecar := podOf([]corev1.Container{sidecar(requests("memory", "4Mi"))}, requests("memory", "2Gi"), requests("memory", "1Gi"))
	tests := []struct {
		name   string
		pod    *corev1.Pod
		c      *corev1.Container
		memory int64
		want   int
	}{
		{"best effort", podOf(nil, corev1.Container{}), nil, node, 1000},
		{"guaranteed", podOf(nil, limits("cpu", "1", "memory", "1Gi")), nil, node, -997},
		{"node critical", critical, nil, node, -997},
		{"a quarter of the node", podOf(nil, requests("memory", "1Gi")), nil, node, 750},
		{"a cpu request alone", podOf(nil, requests("cpu", "1")), nil, node, 999},
		{"more than the node", podOf(nil, requests("memory", "8Gi")), nil, node, 3},
		{"enormous", podOf(nil, requests("memory", "8Ei")), nil, node, 3},
		{"node memory unknown", podOf(nil, requests("memory", "1Gi")), nil, 0, 999},
		{"pod-level remainder is shared", podLevel, &podLevel.Spec.Containers[1], node, 750},
		{"a sidecar goes with the smallest app", withSidecar, &withSidecar.Spec.InitContainers[0], node, 750},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := tt.c
			if c == nil {
				c = &tt.pod.Spec.Containers[0]
			}
			if got := OOMScoreAdj(tt.pod, c, tt.memory); got != tt.want {
				t.Errorf("got %d, want %d", got, tt.want)
			}
		})
	}
}

func TestNodeCapacity(t *testing.T) {
	c, err := NodeCapacity()
	if err != nil {
		t.Fatal(err)
	}
	if c.CPUs < 1 || c.MemoryBytes < 64<<20 {
		t.Errorf("capacity %+v", c)
	}
	for cpus, want := range map[string]int{"0": 1, "0-3": 4, "0-3,8,10-11": 7, "": 0, "x": 0, "3-1": 0} {
		if got := countList(cpus); got != want {
			t.Errorf("%q: got %d, want %d", cpus, got, want)
		}
	}
	if n, err := parseMemTotal([]byte("MemFree: 1 kB\nMemTotal:       16 kB\n")); n != 16384 || err != nil {
		t.Errorf("MemTotal: %d, %v", n, err)
	}
	if _, err := parseMemTotal([]byte("MemFree: 1 kB\n")); err == nil {
		t.Error("no MemTotal: no error")
	}
	list := Capacity{CPUs: 2, MemoryBytes: 1 << 30, HugePageBytes: map[int64]int64{2 << 20: 64 << 20}}.Allocatable(list("cpu", "500m", "memory", "2Gi"))
	if got, want := show(list), fmt.Sprint(map[string]string{"cpu": "1500m", "memory": "0", "hugepages-2Mi": "64Mi"}); got != want {
		t.Errorf("allocatable: got %s, want %s", got, want)
	}
}
