// SPDX-License-Identifier: Apache-2.0

package cgroups

import (
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Machine is what a machine offers of control groups, found by looking alone:
// nothing is made or written.
type Machine struct {
	Mode Mode
	// Mounts has the mount point of each of the controllers cpu, memory, pids and
	// hugetlb that is there and may be written to.
	Mounts map[string]string
	// ReadOnly has the mount points that may not be written to.
	ReadOnly []string
	// Busy has v2 mount points at which controllers cannot be handed on, since
	// processes live there: a cgroup that is not the machine's own root.
	Busy []string
	// Missing has the controllers that are not to be had, each with what the user
	// loses.
	Missing map[string]string
	// Options are those that a Tree opened on the machine would have.
	Options Options
}

// Probe looks at the machine's control groups as Open finds them.
func Probe() (Machine, error) {
	found, err := look()
	if err != nil {
		return Machine{}, err
	}
	return probe(found), nil
}

func probe(found []hierarchy) Machine {
	m := Machine{Mode: modeOf(found), Mounts: map[string]string{}}
	for _, h := range found {
		if h.v2 && m.Mode != V2 {
			continue // left idle by Open, too
		}
		if readOnly(h.mount) {
			m.ReadOnly = append(m.ReadOnly, h.mount)
			continue
		}
		usable := h.controllers
		if h.v2 && busyRoot(h.mount) {
			m.Busy = append(m.Busy, h.mount)
			usable = readFields(filepath.Join(h.mount, "cgroup.subtree_control"))
		}
		for _, c := range usedControllers {
			if slices.Contains(usable, c) {
				m.Mounts[c] = h.mount
			}
		}
	}
	m.Missing = missing(m.Mounts)
	m.Options = Options{Mode: m.Mode, SwapControl: swapControl(m.Mode, m.Mounts["memory"])}
	if _, ok := m.Mounts["hugetlb"]; ok {
		m.Options.HugePageSizes = hugePageSizes()
	}
	return m
}

// busyRoot tells whether the cgroup at a v2 mount holds processes and is not the
// machine's root: the kernel then lets it hand on no controller. Only the root has
// no cgroup.type.
func busyRoot(mount string) bool {
	return len(readFields(filepath.Join(mount, "cgroup.type"))) > 0 && len(readFields(filepath.Join(mount, "cgroup.procs"))) > 0
}

func readOnly(mount string) bool {
	var st unix.Statfs_t
	return unix.Statfs(mount, &st) == nil && st.Flags&unix.ST_RDONLY != 0
}

// swapControl looks for the file that limits swap. Under v2 the root has none, so
// it is looked for one level below.
func swapControl(mode Mode, mount string) bool {
	if mount == "" {
		return false
	}
	pattern := filepath.Join(escapeGlob(mount), "memory.memsw.limit_in_bytes")
	if mode == V2 {
		pattern = filepath.Join(escapeGlob(mount), "*", "memory.swap.max")
	}
	files, _ := filepath.Glob(pattern)
	return len(files) > 0
}

func escapeGlob(path string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`).Replace(path)
}
