// SPDX-License-Identifier: Apache-2.0

package spec

import (
	"errors"
	"fmt"
	"runtime"

	"github.com/containerd/containerd/v2/contrib/seccomp"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// filter sets the seccomp profile; the default one depends on the capabilities.
// localhost is the loaded profile of SeccompLocalhost. A privileged container has no
// filter, whatever it asks for, as with containerd's CRI.
func filter(s *specs.Spec, sec Security, localhost *specs.LinuxSeccomp, n Node) error {
	if sec.Privileged {
		return nil
	}
	kind := sec.Seccomp
	if kind == "" {
		if kind = n.SeccompDefault; n.NoSeccomp {
			return nil // nobody asked for it
		}
	}
	switch kind {
	case "", SeccompRuntimeDefault:
		if n.NoSeccomp {
			return errors.New("seccomp is not supported")
		}
		s.Linux.Seccomp = seccomp.DefaultProfile(s)
		if !n.CompatSyscalls {
			s.Linux.Seccomp.Architectures = native(s.Linux.Seccomp.Architectures)
		}
	case SeccompLocalhost:
		if n.NoSeccomp {
			return errors.New("seccomp is not supported")
		}
		if localhost == nil {
			return fmt.Errorf("securityContext.seccompProfile.localhostProfile: %q is not loaded", sec.SeccompProfile)
		}
		profile := *localhost
		s.Linux.Seccomp = &profile
	case SeccompUnconfined:
	default:
		return fmt.Errorf("securityContext.seccompProfile.type: %q is not supported", kind)
	}
	return nil
}

// native keeps the machine's own system call table of those that a profile
// covers. Calls through another one, 32-bit programs' on a 64-bit machine, then
// end the process. Their code in the kernel is the less tested part of its
// surface, and compiling the profile for them is the larger part of a
// container's start: 31 of 61 ms of CPU time for three tables, 6 for one.
func native(all []specs.Arch) []specs.Arch {
	own := map[string]specs.Arch{
		"amd64": specs.ArchX86_64, "arm64": specs.ArchAARCH64, "386": specs.ArchX86, "arm": specs.ArchARM,
		"riscv64": specs.ArchRISCV64, "ppc64le": specs.ArchPPC64LE, "s390x": specs.ArchS390X,
	}[runtime.GOARCH]
	for _, arch := range all {
		if arch == own {
			return []specs.Arch{arch}
		}
	}
	return all
}
