// SPDX-License-Identifier: Apache-2.0

package cgroups

import (
	"bufio"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// hierarchy is one mounted cgroup file system.
type hierarchy struct {
	mount       string   // mount point
	controllers []string // what it has for us; empty for name=systemd and an idle v2 one
	v2          bool
}

// errNoCgroups is returned on a machine with no cgroup mount at all.
var errNoCgroups = errors.New("no cgroup file system is mounted: mount cgroup2 on /sys/fs/cgroup")

// parseMounts finds the hierarchies in the text of /proc/self/mountinfo. Where one
// is mounted twice, the shortest mount point counts. The controllers of v2
// hierarchies are left empty.
func parseMounts(mountinfo io.Reader) ([]hierarchy, error) {
	var found []hierarchy
	seen := map[string]int{} // identity of a hierarchy: index in found
	lines := bufio.NewScanner(mountinfo)
	for lines.Scan() {
		before, after, ok := strings.Cut(lines.Text(), " - ")
		left, right := strings.Fields(before), strings.Fields(after)
		if !ok || len(left) < 5 || len(right) < 3 {
			continue
		}
		h := hierarchy{mount: unescapeMount(left[4])}
		identity := ""
		switch right[0] {
		case "cgroup2":
			h.v2, identity = true, "v2"
		case "cgroup":
			for _, option := range strings.Split(right[2], ",") {
				if slices.Contains(knownControllers, option) {
					h.controllers = append(h.controllers, option)
				}
				if strings.HasPrefix(option, "name=") {
					identity = option
				}
			}
			identity += strings.Join(h.controllers, ",")
		default:
			continue
		}
		if i, dup := seen[identity]; dup {
			if len(h.mount) < len(found[i].mount) {
				found[i] = h
			}
			continue
		}
		seen[identity] = len(found)
		found = append(found, h)
	}
	if len(found) == 0 && lines.Err() == nil {
		return nil, errNoCgroups
	}
	return found, lines.Err()
}

// knownControllers are all that Linux has had under v1.
var knownControllers = []string{"cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids",
	"hugetlb", "net_cls", "net_prio", "perf_event", "rdma", "misc"}

// usedControllers are those whose files the package writes. The others a Pod's
// containers get from the OCI runtime.
var usedControllers = []string{"cpu", "memory", "pids", "hugetlb"}

// unescapeMount undoes mountinfo's octal escapes (\040 for a space).
func unescapeMount(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// look finds the hierarchies of this machine, with the controllers of v2 ones.
func look() ([]hierarchy, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	found, err := parseMounts(f)
	if err != nil {
		return nil, err
	}
	for i := range found {
		if found[i].v2 {
			found[i].controllers = readFields(filepath.Join(found[i].mount, "cgroup.controllers"))
		}
	}
	return found, nil
}

// modeOf tells the mode from the hierarchies.
func modeOf(found []hierarchy) Mode {
	v1, v2 := false, false
	for _, h := range found {
		v2 = v2 || h.v2
		v1 = v1 || !h.v2 && len(h.controllers) > 0
	}
	switch {
	case v1 && v2:
		return Hybrid
	case v1:
		return V1
	}
	return V2
}

// readFields returns the words of a small file, none when it cannot be read.
func readFields(path string) []string {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	return strings.Fields(string(data))
}
