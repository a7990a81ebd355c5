// SPDX-License-Identifier: Apache-2.0

package spec

import (
	"errors"
	"maps"
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// Rootfs calls use with the path of the container's root file system, mounted
// for the time of the call (reading is all that is done to it). Build calls
// it at most once, and not at all when Options.UserFiles is set.
type Rootfs func(use func(root string) error) error

// Build gives the specification of a container. Its root is the directory
// "rootfs" of the bundle. Errors begin with the path of the field below the
// container where there is one.
func Build(o Options, rootfs Rootfs) (*specs.Spec, error) {
	if o.Security.Privileged && len(o.Devices) == 0 {
		return nil, errors.New("securityContext.privileged: the devices of the host are not known")
	}
	user, err := resolveUser(o, rootfs)
	if err != nil {
		return nil, err
	}
	p, err := process(o, user)
	if err != nil {
		return nil, err
	}
	if err := checkMapped(user, o.Namespaces); err != nil {
		return nil, err
	}
	m := mounts(o)
	s := &specs.Spec{
		Version:     specs.Version,
		Process:     p,
		Root:        &specs.Root{Path: "rootfs", Readonly: o.Security.ReadOnlyRootFilesystem},
		Mounts:      m,
		Annotations: maps.Clone(o.Annotations),
		Linux: &specs.Linux{
			CgroupsPath:       o.CgroupsPath,
			Namespaces:        namespaces(o.Namespaces, cgroupNamespace(o)),
			Resources:         resources(o.Resources, o.Security.Privileged),
			RootfsPropagation: rootPropagation(m),
			UIDMappings:       o.Namespaces.mappings(),
			GIDMappings:       o.Namespaces.mappings(),
		},
	}
	s.Linux.Devices = slices.Clone(o.Added)
	if o.Security.Privileged {
		for _, d := range o.Devices {
			if !slices.ContainsFunc(o.Added, func(a specs.LinuxDevice) bool { return a.Path == d.Path }) {
				s.Linux.Devices = append(s.Linux.Devices, d)
			}
		}
	} else if !o.Security.UnmaskedProc {
		s.Linux.MaskedPaths = append(maskedPaths(), o.Node.MaskedPaths...)
		s.Linux.ReadonlyPaths = readonlyPaths()
	}
	return s, filter(s, o.Security, o.Seccomp, o.Node)
}

// cgroupNamespace: on cgroup v2 a container sees its own cgroup as the root;
// on v1 and for privileged containers Kubernetes keeps the host's view.
func cgroupNamespace(o Options) bool {
	return o.Node.CgroupV2 && !o.Security.Privileged
}

func namespaces(n Namespaces, cgroup bool) []specs.LinuxNamespace {
	out := []specs.LinuxNamespace{{Type: specs.MountNamespace}}
	add := func(t specs.LinuxNamespaceType, v string) {
		if v != HostNamespace {
			out = append(out, specs.LinuxNamespace{Type: t, Path: v})
		}
	}
	if n.User != "" {
		add(specs.UserNamespace, n.User)
	}
	add(specs.PIDNamespace, n.PID)
	add(specs.IPCNamespace, n.IPC)
	add(specs.UTSNamespace, n.UTS)
	add(specs.NetworkNamespace, n.Net)
	if cgroup {
		add(specs.CgroupNamespace, "")
	}
	return out
}

// mappings are those of the user namespace, nil in the host's. The OCI runtime finds
// them out by itself; containerd gives the Pod's root its way to the container's files
// by them.
func (n Namespaces) mappings() []specs.LinuxIDMapping {
	if n.User == "" {
		return nil
	}
	return []specs.LinuxIDMapping{n.IDs}
}

// resources puts the device rules before the caller's: nothing, to which the
// runtime adds the harmless devices (null, zero, tty, …), or everything.
func resources(in *specs.LinuxResources, allDevices bool) *specs.LinuxResources {
	out := specs.LinuxResources{}
	if in != nil {
		out = *in
	}
	rules := []specs.LinuxDeviceCgroup{{Allow: allDevices, Access: "rwm"}}
	out.Devices = append(rules, out.Devices...)
	return &out
}

// maskedPaths and readonlyPaths are what Kubernetes' procMount Default means.
func maskedPaths() []string {
	return []string{
		"/proc/acpi",
		"/proc/asound",
		"/proc/interrupts",
		"/proc/kcore",
		"/proc/keys",
		"/proc/latency_stats",
		"/proc/sched_debug",
		"/proc/scsi",
		"/proc/timer_list",
		"/proc/timer_stats",
		"/sys/devices/virtual/powercap",
		"/sys/firmware",
	}
}

func readonlyPaths() []string {
	return []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}
}
