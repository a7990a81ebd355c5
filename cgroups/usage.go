// SPDX-License-Identifier: Apache-2.0

package cgroups

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// CPUMemory is what a cgroup with all below it uses of the two resources that
// kubectl top shows. It takes three files to read.
type CPUMemory struct {
	// At is when it was read.
	At time.Time
	// CPUNanos is the CPU time used since the cgroup was made, in nanoseconds.
	CPUNanos uint64
	// Memory in bytes. WorkingSet is Usage less the file pages that were not touched
	// for long, RSS anonymous memory alone: the definitions of cAdvisor and so of the
	// kubelet.
	Usage, WorkingSet, RSS, Cache, MappedFile, Swap uint64
	// Faults since the cgroup was made; MajorFaults had to wait for a disk and are
	// among them.
	Faults, MajorFaults uint64
}

// Usage is all that is read of a cgroup. What the machine does not count is zero.
type Usage struct {
	CPUMemory
	// MemoryLimit and MemoryPeak are in bytes; a limit of 0 is none.
	MemoryLimit, MemoryPeak uint64
	OOMKills                uint64
	// UserNanos and SystemNanos split CPUNanos, roughly.
	UserNanos, SystemNanos uint64
	// Periods of a CPU quota, those in which it was used up, and how long the cgroup
	// was held up then.
	Periods, ThrottledPeriods, ThrottledNanos uint64
	// Threads are the tasks in the cgroup and below; Processes are the processes in
	// the cgroup itself.
	Threads, Processes uint64
	// IO has what was read and written by block device, sorted.
	IO []DeviceIO
	// Pressure is nil where the kernel does not measure it for the cgroup: under v1.
	CPUPressure, MemoryPressure, IOPressure *Pressure
}

// DeviceIO is what a cgroup did with one block device.
type DeviceIO struct {
	Device                                       string // major:minor
	ReadBytes, WriteBytes, ReadCount, WriteCount uint64
}

// ErrNoUsage says that there is no such cgroup, any more or at all.
var ErrNoUsage = errors.New("no such cgroup")

// CPUMemory reads what the cgroup at a path below each mount uses, such as
// PodPath's, ContainerPath's or Root's. The error wraps ErrNoUsage when it is not
// there. A controller that the machine lacks leaves zeros.
func (t *Tree) CPUMemory(at string) (CPUMemory, error) {
	if at != path.Clean(at) || at != t.root && !strings.HasPrefix(at, t.root+"/") {
		return CPUMemory{}, fmt.Errorf("usage of %s: not below the cgroup root %s", at, t.root)
	}
	if _, err := os.Stat(filepath.Join(t.main, at)); err != nil {
		return CPUMemory{}, fmt.Errorf("usage of %s: %w", at, ErrNoUsage)
	}
	return t.cpuMemory(at), nil
}

func (t *Tree) cpuMemory(at string) CPUMemory {
	u := CPUMemory{At: time.Now()}
	if dir := t.controllerDir("cpuacct", at); dir != "" {
		u.CPUNanos = readNumber(filepath.Join(dir, "cpuacct.usage"))
	} else if dir := t.controllerDir("cpu", at); dir != "" && t.mode == V2 {
		u.CPUNanos = readTable(filepath.Join(dir, "cpu.stat"))["usage_usec"] * 1000
	}
	dir := t.controllerDir("memory", at)
	if dir == "" {
		return u
	}
	stat := readTable(filepath.Join(dir, "memory.stat"))
	var inactive uint64
	if t.mode == V2 {
		u.Usage = readNumber(filepath.Join(dir, "memory.current"))
		u.Swap = readNumber(filepath.Join(dir, "memory.swap.current"))
		u.RSS, u.Cache, u.MappedFile, inactive = stat["anon"], stat["file"], stat["file_mapped"], stat["inactive_file"]
		u.Faults, u.MajorFaults = stat["pgfault"], stat["pgmajfault"]
	} else {
		u.Usage = readNumber(filepath.Join(dir, "memory.usage_in_bytes"))
		u.RSS, u.Cache, u.MappedFile, inactive = stat["total_rss"], stat["total_cache"], stat["total_mapped_file"], stat["total_inactive_file"]
		u.Faults, u.MajorFaults, u.Swap = stat["total_pgfault"], stat["total_pgmajfault"], stat["total_swap"]
	}
	u.WorkingSet = u.Usage - min(inactive, u.Usage)
	return u
}

// Usage reads everything of the cgroup at a path; see CPUMemory.
func (t *Tree) Usage(at string) (Usage, error) {
	basic, err := t.CPUMemory(at)
	if err != nil {
		return Usage{}, err
	}
	u := Usage{CPUMemory: basic}
	if t.mode == V2 {
		t.usageV2(filepath.Join(t.main, at), &u)
	} else {
		t.usageV1(at, &u)
	}
	return u, nil
}

func (t *Tree) usageV2(dir string, u *Usage) {
	cpu := readTable(filepath.Join(dir, "cpu.stat"))
	u.UserNanos, u.SystemNanos = cpu["user_usec"]*1000, cpu["system_usec"]*1000
	u.Periods, u.ThrottledPeriods, u.ThrottledNanos = cpu["nr_periods"], cpu["nr_throttled"], cpu["throttled_usec"]*1000
	u.MemoryLimit, u.MemoryPeak = readNumber(filepath.Join(dir, "memory.max")), readNumber(filepath.Join(dir, "memory.peak"))
	u.OOMKills = readTable(filepath.Join(dir, "memory.events"))["oom_kill"]
	u.Threads, u.Processes = readNumber(filepath.Join(dir, "pids.current")), countLines(filepath.Join(dir, "cgroup.procs"))
	u.IO = parseIOStat(readSmall(filepath.Join(dir, "io.stat")))
	u.CPUPressure = readPressure(filepath.Join(dir, "cpu.pressure"))
	u.MemoryPressure = readPressure(filepath.Join(dir, "memory.pressure"))
	u.IOPressure = readPressure(filepath.Join(dir, "io.pressure"))
}

// userHZ is the unit of the CPU times that the kernel tells in ticks: 100 a second
// on every architecture that Go runs on.
const userHZ = 100

// noLimitV1 is from where on a v1 memory limit means none: the largest multiple of
// a page, whatever its size.
const noLimitV1 = 1 << 62

func (t *Tree) usageV1(at string, u *Usage) {
	if dir := t.controllerDir("cpuacct", at); dir != "" {
		ticks := readTable(filepath.Join(dir, "cpuacct.stat"))
		u.UserNanos, u.SystemNanos = ticks["user"]*(1e9/userHZ), ticks["system"]*(1e9/userHZ)
	}
	if dir := t.controllerDir("cpu", at); dir != "" {
		cpu := readTable(filepath.Join(dir, "cpu.stat"))
		u.Periods, u.ThrottledPeriods, u.ThrottledNanos = cpu["nr_periods"], cpu["nr_throttled"], cpu["throttled_time"]
	}
	if dir := t.controllerDir("memory", at); dir != "" {
		if u.MemoryLimit = readNumber(filepath.Join(dir, "memory.limit_in_bytes")); u.MemoryLimit >= noLimitV1 {
			u.MemoryLimit = 0
		}
		u.MemoryPeak = readNumber(filepath.Join(dir, "memory.max_usage_in_bytes"))
		u.OOMKills = readTable(filepath.Join(dir, "memory.oom_control"))["oom_kill"]
	}
	if dir := t.controllerDir("pids", at); dir != "" {
		u.Threads = readNumber(filepath.Join(dir, "pids.current"))
	}
	u.Processes = countLines(filepath.Join(t.main, at, "cgroup.procs"))
	if dir := t.controllerDir("blkio", at); dir != "" {
		u.IO = parseBlkio(readSmall(filepath.Join(dir, "blkio.throttle.io_service_bytes_recursive")),
			readSmall(filepath.Join(dir, "blkio.throttle.io_serviced_recursive")))
	}
}

// controllerDir is the directory of a cgroup in the hierarchy of a controller, also
// of one that is only read; empty without it.
func (t *Tree) controllerDir(controller, at string) string {
	for _, h := range t.hierarchies {
		if h.v2 && t.mode != V2 {
			continue
		}
		if slices.Contains(h.controllers, controller) {
			return filepath.Join(h.mount, at)
		}
	}
	return ""
}
