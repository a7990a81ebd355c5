// SPDX-License-Identifier: Apache-2.0

package cgroups

import (
	"fmt"
	"sort"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	resourcehelper "k8s.io/component-helpers/resource"
)

// The kernel's bounds, as the kubelet uses them.
const (
	minShares     = 2
	maxShares     = 262144
	sharesPerCPU  = 1024
	quotaPeriodUS = 100000 // length of the CFS period, in µs
	minQuotaUS    = 1000   // smallest quota that the kernel takes, in µs
)

// Options is what the values depend on besides the Pod. Tree.Options fills it for
// this machine; a dry run may fill it for another.
type Options struct {
	// Mode of the machine. Under v2 a container's processes are OOM-killed together
	// and have no swap, as with the kubelet's defaults.
	Mode Mode
	// PidsLimit is the largest number of processes of one Pod, 0 for no limit.
	PidsLimit int64
	// HugePageSizes that the kernel offers, in the kernel's spelling ("2MB", "1GB").
	// Those that a Pod does not ask for are limited to zero. Empty: no controller.
	HugePageSizes []string
	// SwapControl says that the kernel can limit swap.
	SwapControl bool
	// NoCPUQuota leaves CPU limits unenforced.
	NoCPUQuota bool
}

// MilliCPUToShares converts a request in thousandths of a CPU to cpu.shares.
func MilliCPUToShares(milliCPU int64) uint64 {
	switch {
	case milliCPU <= 0:
		return minShares
	case milliCPU >= maxShares: // also keeps the product below from overflowing
		return maxShares
	}
	return uint64(min(max(milliCPU*sharesPerCPU/1000, minShares), maxShares))
}

// MilliCPUToQuota converts a limit in thousandths of a CPU to µs of CPU time in
// each period of 100 ms; 0 means no limit.
func MilliCPUToQuota(milliCPU int64) int64 {
	if milliCPU <= 0 {
		return 0
	}
	const largest = int64(1) << 44 // the kernel's own bound on a quota is about 2^44 µs
	return max(min(milliCPU, largest/100)*quotaPeriodUS/1000, minQuotaUS)
}

// PodResources returns the values of the Pod's own cgroup: cpu shares for the
// effective request, the cpu quota and the memory limit only when every container
// (or the Pod as a whole) has one, since the sum would otherwise cut off a
// container that is meant to be free. A BestEffort Pod gets the least shares.
// Source of the rules: the kubelet's ResourceConfigForPod.
func PodResources(pod *corev1.Pod, opts Options) *specs.LinuxResources {
	requests := resourcehelper.PodRequests(pod, resourcehelper.PodResourcesOptions{})
	everyCPU, everyMemory := true, true
	limits := resourcehelper.PodLimits(pod, resourcehelper.PodResourcesOptions{
		ContainerFn: func(res corev1.ResourceList, _ resourcehelper.ContainerType) {
			everyCPU = everyCPU && !res.Cpu().IsZero()
			everyMemory = everyMemory && !res.Memory().IsZero()
		},
	})
	if resourcehelper.IsPodLevelResourcesSet(pod) {
		everyCPU = everyCPU || !pod.Spec.Resources.Limits.Cpu().IsZero()
		everyMemory = everyMemory || !pod.Spec.Resources.Limits.Memory().IsZero()
	}

	qos := QOSClass(pod)
	shares := uint64(minShares)
	if qos != corev1.PodQOSBestEffort {
		shares = MilliCPUToShares(requests.Cpu().MilliValue())
	}
	r := &specs.LinuxResources{CPU: &specs.LinuxCPU{Shares: &shares}}
	limited := qos != corev1.PodQOSBestEffort
	if limited && everyCPU {
		setQuota(r.CPU, limits.Cpu().MilliValue(), opts)
	}
	if limit := limits.Memory().Value(); limited && everyMemory && limit > 0 {
		r.Memory = &specs.LinuxMemory{Limit: &limit}
	}
	if opts.PidsLimit > 0 {
		limit := opts.PidsLimit
		r.Pids = &specs.LinuxPids{Limit: &limit}
	}
	r.HugepageLimits = hugePageLimits(opts, requests)
	return r
}

// ContainerResources returns the values of one container's cgroup, for the OCI
// spec. The Pod-level limit stands in for one that the container lacks. Source of
// the rules: the kubelet's generateLinuxContainerResources.
func ContainerResources(pod *corev1.Pod, c *corev1.Container, opts Options) *specs.LinuxResources {
	cpuLimit := containerLimit(pod, c, corev1.ResourceCPU)
	memoryLimit := containerLimit(pod, c, corev1.ResourceMemory)
	cpuRequest, ok := c.Resources.Requests[corev1.ResourceCPU]
	if !ok {
		cpuRequest = cpuLimit
	}
	shares := MilliCPUToShares(cpuRequest.MilliValue())
	r := &specs.LinuxResources{CPU: &specs.LinuxCPU{Shares: &shares}}
	setQuota(r.CPU, cpuLimit.MilliValue(), opts)
	if limit := memoryLimit.Value(); limit > 0 {
		r.Memory = &specs.LinuxMemory{Limit: &limit}
		if opts.SwapControl {
			swap := limit // memory and swap together: no swap
			r.Memory.Swap = &swap
		}
	}
	podLimits := corev1.ResourceList{}
	if pod.Spec.Resources != nil {
		podLimits = pod.Spec.Resources.Limits
	}
	r.HugepageLimits = hugePageLimits(opts, podLimits, c.Resources.Limits)
	if opts.Mode == V2 {
		r.Unified = map[string]string{"memory.oom.group": "1"}
		if opts.SwapControl && r.Memory == nil {
			r.Unified["memory.swap.max"] = "0"
		}
	}
	return r
}

// SandboxResources returns the values of the pause container's cgroup: the least.
func SandboxResources() *specs.LinuxResources {
	shares := uint64(minShares)
	return &specs.LinuxResources{CPU: &specs.LinuxCPU{Shares: &shares}}
}

func setQuota(cpu *specs.LinuxCPU, milliCPU int64, opts Options) {
	quota := MilliCPUToQuota(milliCPU)
	if quota == 0 || opts.NoCPUQuota {
		return
	}
	period := uint64(quotaPeriodUS)
	cpu.Quota, cpu.Period = &quota, &period
}

// containerLimit is the container's limit, or else the Pod-level one, or zero.
func containerLimit(pod *corev1.Pod, c *corev1.Container, name corev1.ResourceName) resource.Quantity {
	limit := c.Resources.Limits[name]
	if limit.IsZero() && pod.Spec.Resources != nil {
		limit = pod.Spec.Resources.Limits[name]
	}
	return limit
}

// hugePageLimits has one entry for each page size of the machine: the amount in
// the last list that has the size, else zero.
func hugePageLimits(opts Options, lists ...corev1.ResourceList) []specs.LinuxHugepageLimit {
	var limits []specs.LinuxHugepageLimit
	for _, size := range opts.HugePageSizes {
		limit := specs.LinuxHugepageLimit{Pagesize: size}
		for _, list := range lists {
			for name, quantity := range list {
				if s, ok := hugePageSizeOf(name); ok && s == size {
					limit.Limit = uint64(max(quantity.Value(), 0))
				}
			}
		}
		limits = append(limits, limit)
	}
	sort.Slice(limits, func(i, j int) bool { return limits[i].Pagesize < limits[j].Pagesize })
	return limits
}

// hugePageSizeOf returns the kernel's spelling of the page size in a resource
// name such as hugepages-2Mi.
func hugePageSizeOf(name corev1.ResourceName) (string, bool) {
	text, ok := strings.CutPrefix(string(name), corev1.ResourceHugePagesPrefix)
	if !ok || len(text) > 12 || strings.ContainsAny(text, "eE") {
		return "", false // an exponent could take for ever to compute
	}
	size, err := resource.ParseQuantity(text)
	if err != nil || size.Value() <= 0 {
		return "", false
	}
	return hugePageSizeName(size.Value()), true
}

// hugePageSizeName spells a page size in bytes as the kernel names its files.
func hugePageSizeName(bytes int64) string {
	units := []string{"B", "KB", "MB", "GB", "TB", "PB"}
	i := 0
	for bytes >= 1024 && bytes%1024 == 0 && i < len(units)-1 {
		bytes /= 1024
		i++
	}
	return fmt.Sprintf("%d%s", bytes, units[i])
}
