// SPDX-License-Identifier: Apache-2.0

package spec

import (
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// HostNamespace in a field of Namespaces means: share the host's.
const HostNamespace = "host"

// Options are the values of one container. They are only read by Build.
type Options struct {
	// Image is the configuration of the container's image: the defaults of
	// the process.
	Image ocispec.ImageConfig

	// Command and Args replace the image's Entrypoint and Cmd as in
	// Kubernetes; $(VAR) references are expanded already, see Expand.
	Command []string
	Args    []string

	// Env holds NAME=value in order; it wins over the image's Env, and among
	// equal names the last one wins.
	Env []string

	// WorkingDir is absolute; empty means the image's, or "/".
	WorkingDir string

	// Hostname is the value of the variable HOSTNAME. The host name itself
	// belongs to the UTS namespace.
	Hostname string

	TTY bool
	// Stdin is for whoever creates the task: it does not show in the
	// specification.
	Stdin bool

	Security Security
	// Seccomp is the profile of SeccompLocalhost, see LoadProfiles.
	Seccomp *specs.LinuxSeccomp

	Namespaces Namespaces
	Files      Files

	// Mounts are the volumes' bind mounts; one that has the destination of a
	// standard mount replaces it.
	Mounts []specs.Mount

	// Devices are the host's device nodes (see HostDevices). They are given
	// to a privileged container, which must have them, and to no other.
	Devices []specs.LinuxDevice

	// Added are device nodes that this container gets besides, in the place of others at
	// the same path. Resources has the rules for them.
	Added []specs.LinuxDevice

	// Resources are the container's cgroup values, CgroupsPath the cgroup's
	// path as the runtime wants it (linux.cgroupsPath).
	Resources   *specs.LinuxResources
	CgroupsPath string

	// OOMScoreAdj is the wanted value, -1000 to 1000; see Node.OOMScoreAdjFloor.
	OOMScoreAdj int

	Annotations map[string]string

	// UserFiles are the image's user data bases when the caller has them at
	// hand; otherwise Build reads them from the root file system.
	UserFiles *UserFiles

	Node Node
}

// Namespaces names the namespaces of a container. An empty field means a new
// namespace, HostNamespace the host's, anything else is the path of a
// namespace file to join. Mount and cgroup namespaces are not a matter of
// choice and are settled by Build.
type Namespaces struct {
	Net, IPC, UTS, PID string
	// User is the path of the Pod's user namespace, to which the others belong then;
	// empty means the host's.
	User string
	// IDs are the machine's users and groups that are those from 0 on in User.
	IDs specs.LinuxIDMapping
}

// Files are paths on the host that every container of a Pod has mounted. An
// empty path means that the file is not mounted (Shm: a tmpfs of the
// container's own).
type Files struct {
	Shm        string // directory, at /dev/shm; "/dev/shm" with the host's IPC namespace
	Hosts      string // at /etc/hosts
	Hostname   string // at /etc/hostname
	ResolvConf string // at /etc/resolv.conf

	TerminationLog     string // host file that receives the termination message
	TerminationLogPath string // where the container has it, normally /dev/termination-log
}

// Node is what Build has to know of the machine. The zero value is a machine
// with cgroup v1 on which the agent may not lower oom_score_adj below 0.
type Node struct {
	// CgroupV2 is true when the unified hierarchy alone is mounted at
	// /sys/fs/cgroup; CgroupMountOptions are then the super block options to
	// repeat (nsdelegate, memory_recursiveprot).
	CgroupV2           bool
	CgroupMountOptions []string

	// NoSeccomp is true when the kernel has no seccomp filters.
	NoSeccomp bool

	// SeccompDefault is what containers get that ask for no profile; empty is
	// SeccompRuntimeDefault.
	SeccompDefault Seccomp

	// SeccompDir is the directory below which the profiles of SeccompLocalhost lie.
	SeccompDir string

	// Sysctls are the kernel parameters that Pods may set; the zero value allows none.
	Sysctls AllowedSysctls

	// AppArmor is true when the kernel enforces AppArmor profiles; AppArmorDefault is
	// then the name of the one that RuntimeDefault means, empty when it could not be
	// loaded.
	AppArmor        bool
	AppArmorDefault string

	// CompatSyscalls lets containers with the RuntimeDefault profile use the
	// machine's other system call tables too: 32-bit programs on 64-bit machines.
	CompatSyscalls bool

	// Capabilities are those that the agent can hand on ("CAP_…"); nil means
	// every one that is known.
	Capabilities []string

	// OOMScoreAdjFloor is the lowest oom_score_adj that the agent may set:
	// -1000 with CAP_SYS_RESOURCE, otherwise the agent's own.
	OOMScoreAdjFloor int

	// MaskedPaths are masked beside the usual ones (the processors'
	// thermal_throttle directories).
	MaskedPaths []string
}
