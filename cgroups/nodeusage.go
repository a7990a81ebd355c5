// SPDX-License-Identifier: Apache-2.0

package cgroups

import (
	"bytes"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// NodeUsage is what the whole machine uses, with or without our Pods.
type NodeUsage struct {
	CPUMemory
	// MemoryTotal is the machine's memory and SwapTotal its swap space, in bytes.
	MemoryTotal, SwapTotal uint64
	// Tasks there are, and may be.
	Tasks, TasksMax uint64
	// BootedAt is when the machine was started.
	BootedAt                                time.Time
	CPUPressure, MemoryPressure, IOPressure *Pressure
}

// NodeUsage reads the machine's root cgroups, as the kubelet does, and /proc where
// they do not tell: a root of v2 does not count memory.
func (t *Tree) NodeUsage() NodeUsage {
	u := NodeUsage{CPUMemory: t.cpuMemory("/")}
	stat := readSmall("/proc/stat")
	if booted, err := strconv.ParseInt(procStat(stat, "btime"), 10, 64); err == nil {
		u.BootedAt = time.Unix(booted, 0)
	}
	if u.CPUNanos == 0 {
		u.CPUNanos = busyNanos(stat)
	}
	info := parseMeminfo(readSmall("/proc/meminfo"))
	u.MemoryTotal, u.SwapTotal = info["MemTotal"], info["SwapTotal"]
	if u.Usage == 0 {
		u.Usage = info["MemTotal"] - min(info["MemFree"], info["MemTotal"])
		u.WorkingSet = u.Usage - min(info["Inactive(file)"], u.Usage)
		u.RSS, u.Cache, u.MappedFile = info["AnonPages"], info["Cached"], info["Mapped"]
	}
	u.Swap = info["SwapTotal"] - min(info["SwapFree"], info["SwapTotal"])
	u.Tasks, u.TasksMax = parseTasks(readSmall("/proc/loadavg")), min(readNumber("/proc/sys/kernel/pid_max"), readNumber("/proc/sys/kernel/threads-max"))
	u.CPUPressure, u.MemoryPressure, u.IOPressure = procPressure("cpu"), procPressure("memory"), procPressure("io")
	return u
}

func procPressure(what string) *Pressure { return readPressure(filepath.Join("/proc/pressure", what)) }

// procStat is what follows a word at the beginning of a line of /proc/stat.
func procStat(data []byte, word string) string {
	for line := range bytes.Lines(data) {
		if rest, ok := strings.CutPrefix(string(line), word+" "); ok {
			return strings.TrimSpace(rest)
		}
	}
	return ""
}

// busyNanos sums the times of the machine's processors that were not idle: user,
// nice, system, irq, softirq, steal of the fields of proc(5).
func busyNanos(stat []byte) uint64 {
	var ticks uint64
	for i, field := range strings.Fields(procStat(stat, "cpu")) {
		switch i {
		case 0, 1, 2, 5, 6, 7:
			n, _ := strconv.ParseUint(field, 10, 64) // no number: nothing
			ticks += n
		}
	}
	return ticks * (1e9 / userHZ)
}

// parseMeminfo has the amounts of /proc/meminfo in bytes.
func parseMeminfo(data []byte) map[string]uint64 {
	info := make(map[string]uint64)
	for line := range bytes.Lines(data) {
		words := strings.Fields(string(line))
		if len(words) != 3 || words[2] != "kB" {
			continue
		}
		if n, err := strconv.ParseUint(words[1], 10, 54); err == nil {
			info[strings.TrimSuffix(words[0], ":")] = n * 1024
		}
	}
	return info
}

// parseTasks reads how many tasks there are from "0.1 0.2 0.3 running/all last".
func parseTasks(loadavg []byte) uint64 {
	words := strings.Fields(string(loadavg))
	if len(words) < 4 {
		return 0
	}
	_, all, _ := strings.Cut(words[3], "/")
	n, _ := strconv.ParseUint(all, 10, 64) // no number: 0
	return n
}
