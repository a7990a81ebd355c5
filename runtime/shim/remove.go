// SPDX-License-Identifier: Apache-2.0

package shim

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// state is what is needed of the file that runc keeps of a container.
type state struct {
	Cgroups map[string]string `json:"cgroup_paths"` // by controller; v2 has one, with an empty name
	RDT     string            `json:"intel_rdt_path"`
	RDTMon  string            `json:"intel_rdt_mon_path"`
	Config  struct {
		Hooks map[string][]json.RawMessage
	} `json:"config"`
}

// plain says that there is nothing to clean up but cgroups.
func (s *state) plain() bool {
	hooks := 0
	for _, list := range s.Config.Hooks {
		hooks += len(list)
	}
	return hooks == 0 && s.RDT == "" && s.RDTMon == ""
}

// remove removes what runc has of a container whose process has ended: its
// cgroups and its state. False when there is more to be done than that, for
// runc to do: processes that are left, hooks, a group for the processor's cache.
func remove(c command, p child) bool {
	if !p.alone || len(c.args) != 1 {
		return false
	}
	dir := filepath.Join(c.root, c.id)
	data, err := os.ReadFile(filepath.Join(dir, "state.json"))
	if err != nil {
		return false
	}
	var s state
	if err := json.Unmarshal(data, &s); err != nil || !s.plain() {
		return false
	}
	for _, cgroup := range s.Cgroups {
		if !filepath.IsAbs(cgroup) {
			return false
		}
		// EBUSY: a process or a cgroup that the container has made.
		if err := unix.Rmdir(cgroup); err != nil && !errors.Is(err, unix.ENOENT) {
			return false
		}
	}
	return os.RemoveAll(dir) == nil
}
