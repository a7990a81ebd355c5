// SPDX-License-Identifier: Apache-2.0

package spec

import (
	"slices"

	"github.com/containerd/containerd/v2/pkg/cap"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// defaultCapabilities is the set that containerd gives to a container that
// asks for nothing.
func defaultCapabilities() []string {
	return []string{
		"CAP_AUDIT_WRITE",
		"CAP_CHOWN",
		"CAP_DAC_OVERRIDE",
		"CAP_FOWNER",
		"CAP_FSETID",
		"CAP_KILL",
		"CAP_MKNOD",
		"CAP_NET_BIND_SERVICE",
		"CAP_NET_RAW",
		"CAP_SETFCAP",
		"CAP_SETGID",
		"CAP_SETPCAP",
		"CAP_SETUID",
		"CAP_SYS_CHROOT",
	}
}

// capabilities computes the bounding, effective and permitted sets, in the
// order in which containerd's CRI applies the lists: ALL in add, ALL in drop,
// the single additions, the single drops. Ambient and inheritable stay empty:
// a process that is not root gets capabilities from files only.
func capabilities(s Security, n Node) *specs.LinuxCapabilities {
	all := n.Capabilities
	if all == nil {
		all = cap.Known()
	}
	set := defaultCapabilities()
	if s.Privileged || slices.Contains(s.Add, "ALL") {
		set = slices.Clone(all)
	}
	if !s.Privileged {
		if slices.Contains(s.Drop, "ALL") {
			set = nil
		}
		for _, c := range s.Add {
			if c != "ALL" && !slices.Contains(set, c) {
				set = append(set, c)
			}
		}
		set = slices.DeleteFunc(set, func(c string) bool { return slices.Contains(s.Drop, c) })
	}
	// What the agent does not have it cannot give.
	set = slices.DeleteFunc(set, func(c string) bool { return !slices.Contains(all, c) })
	slices.Sort(set)
	return &specs.LinuxCapabilities{Bounding: set, Effective: slices.Clone(set), Permitted: slices.Clone(set)}
}

// MissingCapabilities lists what the container asks for by name and the node
// cannot give.
func MissingCapabilities(s Security, n Node) []string {
	if n.Capabilities == nil {
		return nil
	}
	var missing []string
	for _, c := range s.Add {
		if c != "ALL" && !slices.Contains(n.Capabilities, c) && !slices.Contains(s.Drop, c) {
			missing = append(missing, c)
		}
	}
	return missing
}
