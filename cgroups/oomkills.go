// SPDX-License-Identifier: Apache-2.0

package cgroups

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// ContainerOOMKills returns how many processes the kernel has killed in the
// container's cgroup for want of memory. The path is ContainerPath's. The error
// wraps fs.ErrNotExist when the cgroup or the memory controller is not there. The
// count dies with the cgroup: read it before the OCI runtime deletes the container.
func (t *Tree) ContainerOOMKills(cgroupsPath string) (uint64, error) {
	mount, ok := t.home["memory"]
	if !ok {
		return 0, fmt.Errorf("OOM kills of %s: no memory controller: %w", cgroupsPath, os.ErrNotExist)
	}
	if cgroupsPath != filepath.Clean(cgroupsPath) || !strings.HasPrefix(cgroupsPath, t.root+"/") {
		return 0, fmt.Errorf("OOM kills of %s: not below the cgroup root %s", cgroupsPath, t.root)
	}
	file := "memory.oom_control"
	if t.mode == V2 {
		file = "memory.events"
	}
	data, err := os.ReadFile(filepath.Join(mount, cgroupsPath, file))
	if err != nil {
		return 0, fmt.Errorf("OOM kills: %w", err)
	}
	kills, err := parseOOMKills(data)
	if err != nil {
		return 0, fmt.Errorf("OOM kills: %s of %s: %w", file, cgroupsPath, err)
	}
	return kills, nil
}

// parseOOMKills finds the line "oom_kill N".
func parseOOMKills(data []byte) (uint64, error) {
	lines := bufio.NewScanner(bytes.NewReader(data))
	for lines.Scan() {
		if text, ok := strings.CutPrefix(lines.Text(), "oom_kill "); ok {
			return strconv.ParseUint(strings.TrimSpace(text), 10, 64)
		}
	}
	return 0, fmt.Errorf("no line oom_kill")
}
