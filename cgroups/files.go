// SPDX-License-Identifier: Apache-2.0

package cgroups

import (
	"math"
	"strconv"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Mode is how the machine mounts its control groups.
type Mode string

const (
	// V1 has one hierarchy for each controller (or a few together).
	V1 Mode = "v1"
	// Hybrid is V1 with a v2 hierarchy beside it for what no v1 hierarchy has.
	// Values and files are those of V1.
	Hybrid Mode = "hybrid"
	// V2 has one hierarchy with all controllers.
	V2 Mode = "v2"
)

// Value is one cgroup file and what stands in it.
type Value struct {
	Controller string `json:"controller"` // "cpu", "memory", "pids", "hugetlb"
	File       string `json:"file"`       // "cpu.shares", "memory.max", …
	Value      string `json:"value"`
}

// Files returns the files of a Pod's cgroup that r sets, in the order in which
// they are written. It writes nothing.
//
// Under v2 the weight of a Pod or QoS cgroup is the shares scaled linearly from
// [2, 262144] to [1, 10000], as the kubelet does: the Pods' weights keep the ratio
// of their requests. ContainerFiles differs there.
func Files(mode Mode, r *specs.LinuxResources) []Value {
	return files(mode, r, linearWeight)
}

// ContainerFiles is Files for a container's cgroup, whose values the OCI runtime
// writes: under v2 it maps shares to weight so that 2, 1024 and 262144 shares
// become 1, 100 and 10000 (runc since 1.3.2, crun since 1.23).
func ContainerFiles(mode Mode, r *specs.LinuxResources) []Value {
	return files(mode, r, fittedWeight)
}

func files(mode Mode, r *specs.LinuxResources, weight func(uint64) uint64) []Value {
	if r == nil {
		return nil
	}
	if mode == V2 {
		return filesV2(r, weight)
	}
	return filesV1(r)
}

func filesV1(r *specs.LinuxResources) []Value {
	var v []Value
	if cpu := r.CPU; cpu != nil {
		if cpu.Shares != nil {
			v = append(v, Value{"cpu", "cpu.shares", strconv.FormatUint(*cpu.Shares, 10)})
		}
		if cpu.Period != nil {
			v = append(v, Value{"cpu", "cpu.cfs_period_us", strconv.FormatUint(*cpu.Period, 10)})
		}
		if cpu.Quota != nil {
			v = append(v, Value{"cpu", "cpu.cfs_quota_us", strconv.FormatInt(*cpu.Quota, 10)})
		}
	}
	if m := r.Memory; m != nil {
		if m.Limit != nil {
			v = append(v, Value{"memory", "memory.limit_in_bytes", strconv.FormatInt(*m.Limit, 10)})
		}
		if m.Swap != nil {
			v = append(v, Value{"memory", "memory.memsw.limit_in_bytes", strconv.FormatInt(*m.Swap, 10)})
		}
	}
	if r.Pids != nil && r.Pids.Limit != nil {
		v = append(v, Value{"pids", "pids.max", orMax(*r.Pids.Limit)})
	}
	for _, h := range r.HugepageLimits {
		v = append(v, Value{"hugetlb", "hugetlb." + h.Pagesize + ".limit_in_bytes", strconv.FormatUint(h.Limit, 10)})
	}
	return v
}

func filesV2(r *specs.LinuxResources, weight func(uint64) uint64) []Value {
	var v []Value
	if cpu := r.CPU; cpu != nil {
		if cpu.Shares != nil {
			v = append(v, Value{"cpu", "cpu.weight", strconv.FormatUint(weight(*cpu.Shares), 10)})
		}
		if cpu.Quota != nil {
			period := uint64(quotaPeriodUS)
			if cpu.Period != nil {
				period = *cpu.Period
			}
			v = append(v, Value{"cpu", "cpu.max", orMax(*cpu.Quota) + " " + strconv.FormatUint(period, 10)})
		}
	}
	if m := r.Memory; m != nil {
		if m.Limit != nil {
			v = append(v, Value{"memory", "memory.max", orMax(*m.Limit)})
		}
		if m.Swap != nil && m.Limit != nil {
			v = append(v, Value{"memory", "memory.swap.max", strconv.FormatInt(max(*m.Swap-*m.Limit, 0), 10)})
		}
	}
	if r.Pids != nil && r.Pids.Limit != nil {
		v = append(v, Value{"pids", "pids.max", orMax(*r.Pids.Limit)})
	}
	for _, h := range r.HugepageLimits {
		v = append(v, Value{"hugetlb", "hugetlb." + h.Pagesize + ".max", strconv.FormatUint(h.Limit, 10)})
	}
	for _, file := range []string{"memory.swap.max", "memory.oom.group"} {
		if value, ok := r.Unified[file]; ok {
			v = append(v, Value{"memory", file, value})
		}
	}
	return v
}

// noLimits are the values that undo a limit set earlier, for the files of a Pod's
// cgroup that Files may leave out.
func noLimits(mode Mode) []Value {
	if mode == V2 {
		return []Value{{"cpu", "cpu.max", "max"}, {"memory", "memory.max", "max"}, {"pids", "pids.max", "max"}}
	}
	return []Value{{"cpu", "cpu.cfs_quota_us", "-1"}, {"memory", "memory.limit_in_bytes", "-1"}, {"pids", "pids.max", "max"}}
}

// orMax spells a limit for the files that know "max"; below zero means no limit.
func orMax(limit int64) string {
	if limit < 0 {
		return "max"
	}
	return strconv.FormatInt(limit, 10)
}

func linearWeight(shares uint64) uint64 {
	shares = min(max(shares, minShares), maxShares)
	return 1 + (shares-minShares)*9999/(maxShares-minShares)
}

func fittedWeight(shares uint64) uint64 {
	if shares <= minShares {
		return 1
	}
	if shares >= maxShares {
		return 10000
	}
	// The exponent of ten is the parabola in log2(shares) through the three points.
	l := math.Log2(float64(shares))
	return uint64(math.Ceil(math.Pow(10, (l*l+125*l)/612-7.0/34)))
}
