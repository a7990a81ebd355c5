// SPDX-License-Identifier: Apache-2.0

package spec

import (
	"path"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// mounts gives the container's mounts in the order in which they are to be
// made: the file systems of the kernel first, then files and volumes, each
// after the mounts that it lies in.
func mounts(o Options) []specs.Mount {
	volumes := fileMounts(o.Files, o.Security.ReadOnlyRootFilesystem, o.Namespaces.User != "")
	for _, m := range o.Mounts {
		// As the kubelet has it, a relative mountPath starts at the root.
		m.Destination = path.Join("/", m.Destination)
		// A volume at the place of one of the files wins over it.
		volumes = slices.DeleteFunc(volumes, func(f specs.Mount) bool { return f.Destination == m.Destination })
		volumes = append(volumes, m)
	}
	slices.SortStableFunc(volumes, func(a, b specs.Mount) int {
		return depth(a.Destination) - depth(b.Destination)
	})
	return append(hidden(kernelMounts(o), volumes), volumes...)
}

// IDMapped is the option of a bind mount that shows the owners of files as those of the
// same numbers in the container's user namespace, as Kubernetes has it for all volumes:
// https://github.com/opencontainers/runtime-spec/blob/main/config.md#mounts
const IDMapped = "idmap"

func depth(p string) int {
	return strings.Count(path.Clean(p), "/")
}

// hidden removes the base mounts that volumes take the place of: those at the
// same destination, and everything in /dev when /dev itself is a volume.
func hidden(base, volumes []specs.Mount) []specs.Mount {
	return slices.DeleteFunc(base, func(b specs.Mount) bool {
		for _, v := range volumes {
			if v.Destination == b.Destination || v.Destination == "/dev" && strings.HasPrefix(b.Destination, "/dev/") {
				return true
			}
		}
		return false
	})
}

// kernelMounts are the mounts every container has. A privileged container may
// write to /sys and to its cgroups.
func kernelMounts(o Options) []specs.Mount {
	access := "ro"
	if o.Security.Privileged {
		access = "rw"
	}
	cgroup := []string{"nosuid", "noexec", "nodev", "relatime", access}
	if !cgroupNamespace(o) {
		// Without a cgroup namespace a mount of cgroup2 changes the options
		// of the one super block, the host's.
		cgroup = append(cgroup, o.Node.CgroupMountOptions...)
	}
	out := []specs.Mount{
		{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755", "size=65536k"}},
		{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
		{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"nosuid", "noexec", "nodev", access}},
		{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: cgroup},
	}
	if o.Files.Shm == "" {
		out = append(out, specs.Mount{Destination: "/dev/shm", Type: "tmpfs", Source: "shm",
			Options: []string{"nosuid", "noexec", "nodev", "mode=1777", "size=65536k"}})
	}
	return out
}

// fileMounts are the bind mounts that all containers of a Pod share, and the
// container's termination log. /etc/hosts stays writable under a read-only
// root file system, as the kubelet has it. With a user namespace they are ID-mapped: the
// host's root, to whom the files belong, is the container's there. /dev/shm belongs to the
// Pod as it is: a tmpfs can be mapped since Linux 6.3 only.
func fileMounts(f Files, readOnlyRoot, mapped bool) []specs.Mount {
	var out []specs.Mount
	add := func(source, destination, access string) {
		if source == "" || destination == "" {
			return
		}
		options := []string{"rbind", "rprivate", access}
		if mapped && source != f.Shm {
			options = append(options, IDMapped)
		}
		out = append(out, specs.Mount{Destination: path.Join("/", destination), Type: "bind", Source: source, Options: options})
	}
	etc := "rw"
	if readOnlyRoot {
		etc = "ro"
	}
	add(f.Shm, "/dev/shm", "rw")
	add(f.Hosts, "/etc/hosts", "rw")
	add(f.Hostname, "/etc/hostname", etc)
	add(f.ResolvConf, "/etc/resolv.conf", etc)
	add(f.TerminationLog, f.TerminationLogPath, "rw")
	return out
}

// rootPropagation is the propagation of the container's root that its
// volumes' propagation needs.
func rootPropagation(mounts []specs.Mount) string {
	out := ""
	for _, m := range mounts {
		if slices.Contains(m.Options, "rshared") {
			return "rshared"
		}
		if slices.Contains(m.Options, "rslave") {
			out = "rslave"
		}
	}
	return out
}
