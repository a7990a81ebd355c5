// SPDX-License-Identifier: Apache-2.0

package podmgr

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/minikubelet/minikubelet/cgroups"
	"github.com/minikubelet/minikubelet/runtime"
	"github.com/minikubelet/minikubelet/runtime/pause"
	"github.com/minikubelet/minikubelet/runtime/spec"
	"github.com/minikubelet/minikubelet/volumes"
)

// NodeFacts is what a Pod's containers depend on besides the Pod: plain values, but for
// what changes while the agent runs.
// Its methods compose what the runtime is given and make nothing, so that a
// worker and a dry run (Preview) cannot differ.
type NodeFacts struct {
	NodeName string
	// HostIPs are the node's addresses at the time of the call.
	HostIPs     func() []string
	Capacity    corev1.ResourceList // of the machine
	Allocatable corev1.ResourceList // what Pods may request in sum

	PodsDir, NetnsDir, LogDir string // as in Config
	ResolvConf                string // the host's
	PauseRoot                 string // as in Config

	CgroupRoot string // below each cgroup mount
	// CgroupOptions are those of the machine, with the pids limit of a Pod.
	CgroupOptions cgroups.Options
	Node          spec.Node
	// ExampleIDs are IDs such as a Pod with a user namespace gets, for a dry run.
	ExampleIDs specs.LinuxIDMapping
	// API is where containers reach the Kubernetes API; not valid: they do not.
	API netip.AddrPort
}

func (n *NodeFacts) podDir(pod *corev1.Pod) string {
	return filepath.Join(n.PodsDir, string(pod.UID))
}

func (n *NodeFacts) netnsDir(pod *corev1.Pod) string {
	return filepath.Join(n.NetnsDir, string(pod.UID))
}

func (n *NodeFacts) logDir(pod *corev1.Pod) string { return LogDir(n.LogDir, pod) }

func (n *NodeFacts) shmDir(pod *corev1.Pod) string { return filepath.Join(n.podDir(pod), "shm") }

func (n *NodeFacts) terminationFile(uid, name, id string) string {
	return filepath.Join(n.PodsDir, uid, "containers", name, id[:13])
}

func (n *NodeFacts) volumesPod(pod *corev1.Pod) volumes.Pod {
	p := volumes.Pod{UID: string(pod.UID), Namespace: pod.Namespace, Name: pod.Name, Dir: n.podDir(pod), OwnUsers: ownUsers(pod)}
	p.Nested = nested(pod)
	if pod.Spec.SecurityContext != nil {
		p.FSGroup = pod.Spec.SecurityContext.FSGroup
		policy := pod.Spec.SecurityContext.FSGroupChangePolicy
		p.FSGroupOnRootMismatch = policy != nil && *policy == corev1.FSGroupChangeOnRootMismatch
	}
	limits := cgroups.EffectiveOf(pod).Limits // of huge pages they are the requests, too
	if q, ok := limits[corev1.ResourceMemory]; ok {
		p.MemoryLimit = q.Value()
	}
	for name := range limits {
		if size, ok := strings.CutPrefix(string(name), corev1.ResourceHugePagesPrefix); ok {
			if q, err := resource.ParseQuantity(size); err == nil { // validated
				p.HugePages = append(p.HugePages, q.Value())
			}
		}
	}
	return p
}

// namespaceOptions says which namespaces the Pod has of its own.
func (n *NodeFacts) namespaceOptions(pod *corev1.Pod) (runtime.NamespaceOptions, error) {
	hostname, err := n.kernelHostname(pod)
	if err != nil {
		return runtime.NamespaceOptions{}, err
	}
	sysctls, err := spec.Sysctls(pod, n.Node)
	return runtime.NamespaceOptions{
		Net: !pod.Spec.HostNetwork, IPC: !pod.Spec.HostIPC, UTS: !pod.Spec.HostNetwork,
		Hostname: hostname, Sysctls: sysctls, Defaults: spec.DefaultSysctls(),
	}, err
}

// ownUsers tells whether the Pod has a user namespace of its own.
func ownUsers(pod *corev1.Pod) bool { return pod.Spec.HostUsers != nil && !*pod.Spec.HostUsers }

func sharesPID(pod *corev1.Pod) bool {
	return isTrue(pod.Spec.ShareProcessNamespace) && !pod.Spec.HostPID
}

// namespaces are those of a container of the Pod. sandboxPID is the process whose
// PID namespace it joins with shareProcessNamespace, 0 for one of its own.
func namespaces(pod *corev1.Pod, pinned runtime.Namespaces, sandboxPID int) spec.Namespaces {
	orHost := func(path string) string {
		if path == "" {
			return spec.HostNamespace
		}
		return path
	}
	ns := spec.Namespaces{
		Net: orHost(pinned.Net), IPC: orHost(pinned.IPC), UTS: orHost(pinned.UTS), User: pinned.User, IDs: pinned.IDs,
	}
	switch {
	case pod.Spec.HostPID:
		ns.PID = spec.HostNamespace
	case sandboxPID != 0:
		ns.PID = fmt.Sprintf("/proc/%d/ns/pid", sandboxPID)
	}
	return ns
}

// files are the single files and /dev/shm of one container. A volume that the
// container mounts at the same place wins, as in the kubelet.
func (n *NodeFacts) files(pod *corev1.Pod, c *corev1.Container, id string) spec.Files {
	dir := n.podDir(pod)
	files := spec.Files{
		Hosts:    filepath.Join(dir, "etc-hosts"),
		Hostname: filepath.Join(dir, "hostname"), ResolvConf: filepath.Join(dir, "resolv.conf"),
		Shm:            n.shmDir(pod),
		TerminationLog: n.terminationFile(string(pod.UID), c.Name, id), TerminationLogPath: terminationPath(c),
	}
	if pod.Spec.HostIPC {
		files.Shm = "/dev/shm"
	}
	return files
}

func terminationPath(c *corev1.Container) string {
	if c.TerminationMessagePath != "" {
		return c.TerminationMessagePath
	}
	return corev1.TerminationMessagePathDefault
}

// options composes one container's values but its image and namespaces.
func (n *NodeFacts) options(pod *corev1.Pod, c *corev1.Container, id string, env *environment, mounts []specs.Mount) (spec.Options, error) {
	security, err := spec.EffectiveSecurityContext(pod, c)
	if err != nil {
		return spec.Options{}, err
	}
	hostname, err := n.kernelHostname(pod)
	if err != nil {
		return spec.Options{}, err
	}
	options := spec.Options{
		Command: env.expand(c.Command), Args: env.expand(c.Args), Env: env.list(), WorkingDir: c.WorkingDir,
		Hostname: hostname, TTY: c.TTY, Stdin: c.Stdin,
		Security: security, Files: n.files(pod, c, id), Mounts: mounts,
		Resources:   cgroups.ContainerResources(pod, c, n.CgroupOptions),
		CgroupsPath: n.containerCgroup(pod, id),
		OOMScoreAdj: cgroups.OOMScoreAdj(pod, c, n.Capacity.Memory().Value()),
		Node:        n.Node,
	}
	if security.Privileged {
		options.Devices, err = spec.HostDevices()
	}
	return options, err
}

// containerCgroup is linux.cgroupsPath.
func (n *NodeFacts) containerCgroup(pod *corev1.Pod, id string) string {
	return filepath.Join(cgroups.PodPath(n.CgroupRoot, string(pod.UID), cgroups.QOSClass(pod)), id)
}

// pause composes the pause container. cgroup are the directories of its cgroup, for
// a process that needs no OCI runtime; nil otherwise.
func (n *NodeFacts) pause(pod *corev1.Pod, pinned runtime.Namespaces, id string, cgroup []string) (*specs.Spec, error) {
	options := spec.PauseOptions{
		Root: n.PauseRoot, Args: []string{pause.Program},
		Namespaces: namespaces(pod, pinned, 0), SharedPID: sharesPID(pod),
		Resources: cgroups.SandboxResources(), CgroupsPath: n.containerCgroup(pod, id), Node: n.Node,
	}
	if plainPause(pod) {
		// What starts it can enter all namespaces but a user namespace, and it needs no
		// right that it would have there.
		options.Namespaces.User = ""
	}
	if cgroup != nil {
		options.Annotations = map[string]string{pause.AnnotationCgroups: strings.Join(cgroup, "\n")}
	}
	return spec.Pause(options)
}

// plainPause says whether the pause process needs nothing that only the OCI runtime
// sets up: a filter, since others can trace it.
func plainPause(pod *corev1.Pod) bool { return !sharesPID(pod) }
