// SPDX-License-Identifier: Apache-2.0

package spec

import (
	"maps"

	"github.com/opencontainers/runtime-spec/specs-go"
)

const (
	// pauseUser is the user and group of the pause process, that of
	// Kubernetes' own pause image.
	pauseUser = 65535
	// pauseOOMScoreAdj makes the kernel choose nearly everything else first.
	pauseOOMScoreAdj = -998
	// pauseShares is the least cpu weight there is.
	pauseShares = 2
)

// PauseOptions are the values of a sandbox's pause container.
type PauseOptions struct {
	// Root is the absolute path of the directory with the pause program, and Args its
	// command line there.
	Root string
	Args []string

	// Namespaces as for a container; PID is empty (with
	// shareProcessNamespace the Pod's containers join that of pause) or
	// HostNamespace. User may be empty for a Pod with a user namespace: pause then is
	// the user of the machine that it would be there.
	Namespaces Namespaces

	// SharedPID says that the Pod's containers share pause's PID namespace. Only
	// then can one of them trace pause, and have it make system calls that its own
	// filter forbids, so only then pause has a filter too: it makes no call of its
	// own but pause(2) and exit(2).
	SharedPID bool

	// Resources may be nil: the smallest share of the processor.
	Resources   *specs.LinuxResources
	CgroupsPath string
	Annotations map[string]string
	Node        Node
}

// Pause gives the specification of the pause container: no capabilities, no
// new privileges, an ordinary user, a read-only root, nothing mounted that it
// does not need.
func Pause(o PauseOptions) (*specs.Spec, error) {
	res := o.Resources
	if res == nil {
		shares := uint64(pauseShares)
		res = &specs.LinuxResources{CPU: &specs.LinuxCPU{Shares: &shares}}
	}
	score := max(pauseOOMScoreAdj, o.Node.OOMScoreAdjFloor)
	user := uint32(pauseUser)
	if o.Namespaces.User == "" {
		user += o.Namespaces.IDs.HostID
	}
	s := &specs.Spec{
		Version: specs.Version,
		Process: &specs.Process{
			User:            specs.User{UID: user, GID: user, AdditionalGids: []uint32{user}},
			Args:            o.Args,
			Env:             []string{defaultPath},
			Cwd:             "/",
			Capabilities:    &specs.LinuxCapabilities{},
			NoNewPrivileges: true,
			OOMScoreAdj:     &score,
		},
		Root: &specs.Root{Path: o.Root, Readonly: true},
		Mounts: []specs.Mount{
			{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
			{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755", "size=64k"}},
		},
		Annotations: maps.Clone(o.Annotations),
		Linux: &specs.Linux{
			CgroupsPath:   o.CgroupsPath,
			Namespaces:    namespaces(o.Namespaces, o.Node.CgroupV2),
			Resources:     resources(res, false),
			MaskedPaths:   append(maskedPaths(), o.Node.MaskedPaths...),
			ReadonlyPaths: readonlyPaths(),
			UIDMappings:   o.Namespaces.mappings(),
			GIDMappings:   o.Namespaces.mappings(),
		},
	}
	security := Security{Seccomp: SeccompUnconfined}
	if o.SharedPID && !o.Node.NoSeccomp {
		security.Seccomp = SeccompRuntimeDefault
	}
	return s, filter(s, security, nil, o.Node)
}
