// SPDX-License-Identifier: Apache-2.0

package podmgr

import (
	"errors"
	"fmt"
	"slices"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	corev1 "k8s.io/api/core/v1"

	"github.com/minikubelet/minikubelet/cgroups"
	"github.com/minikubelet/minikubelet/network"
	"github.com/minikubelet/minikubelet/podmgr/plan"
	"github.com/minikubelet/minikubelet/runtime"
	"github.com/minikubelet/minikubelet/runtime/spec"
	"github.com/minikubelet/minikubelet/volumes"
)

// What stands in a preview for what is known only when the Pod runs.
const (
	podIPPlaceholder    = "<Pod IP>"
	pausePIDPlaceholder = "/proc/<pause>/ns/pid"
)

// Preview is what would become of one Pod.
type Preview struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	UID       string `json:"uid"`

	QOSClass corev1.PodQOSClass `json:"qosClass"`
	Requests []cgroups.Sum      `json:"effectiveRequests"`
	Limits   []cgroups.Sum      `json:"effectiveLimits"`
	// Refused is why the node would refuse the Pod; nil when it fits.
	Refused *PreviewRefusal `json:"refused,omitempty"`

	Dir       string             `json:"directory"` // of the Pod's files and volumes
	Hostname  string             `json:"hostname"`
	HostPorts []string           `json:"hostPorts,omitempty"`
	Users     string             `json:"users,omitempty"` // with a user namespace
	Cgroup    CgroupPreview      `json:"cgroup"`
	Stages    []Stage            `json:"startOrder"`
	Sandbox   *specs.Spec        `json:"sandboxSpec,omitempty"`
	Init      []ContainerPreview `json:"initContainers,omitempty"`
	Apps      []ContainerPreview `json:"containers"`

	// Problems keep the Pod from running on this node as it is now; Warnings do not.
	Problems []string `json:"problems,omitempty"`
	Warnings []string `json:"warnings,omitempty"`
}

// PreviewRefusal is the status that admission would give the Pod.
type PreviewRefusal struct {
	Reason  string `json:"reason"`
	Message string `json:"message"`
}

// CgroupPreview has the path below each cgroup mount, and the values by mode.
type CgroupPreview struct {
	Path string          `json:"path"`
	V1   []cgroups.Value `json:"v1"`
	V2   []cgroups.Value `json:"v2"`
}

// Stage is a step of the Pod's start: its containers start together.
type Stage struct {
	Kind       string   `json:"kind"` // sandbox, init, sidecar, apps
	Containers []string `json:"containers,omitempty"`
}

// ContainerPreview is what the runtime would be given for a container.
type ContainerPreview struct {
	Name       string            `json:"name"`
	Image      string            `json:"image"`
	PullPolicy corev1.PullPolicy `json:"imagePullPolicy"`
	ID         string            `json:"id"` // of the first attempt
	// CommandFromImage and UserFromImage say that the image decides, as far as the
	// manifest does not; images are not looked at.
	CommandFromImage    bool `json:"commandFromImage"`
	WorkingDirFromImage bool `json:"workingDirFromImage"`
	UserFromImage       bool `json:"userFromImage"`
	// OOMScoreAdj is the wanted value; the spec has what this node may set.
	OOMScoreAdj int           `json:"oomScoreAdj"`
	Cgroup      CgroupPreview `json:"cgroup"`
	Spec        *specs.Spec   `json:"spec,omitempty"`
}

// PreviewPods shows what would become of the Pods on the node, if they came in
// this order to a node without any other. It uses the code that makes containers
// and makes nothing; of the machine it looks at hostPath volumes and the resolver
// settings, and at devices for privileged containers.
func PreviewPods(n NodeFacts, vols *volumes.Manager, pods []*corev1.Pod) []Preview {
	placed := admitted{}
	var out []Preview
	for _, pod := range pods {
		p := n.preview(vols, pod)
		if r := n.refuses(placed, pod); r != nil {
			p.Refused = &PreviewRefusal{r.Reason, r.Message}
		} else {
			placed[pod.UID] = placeOf(pod)
		}
		out = append(out, p)
	}
	return out
}

// refuses says why the node would not take the Pod beside the others.
func (n *NodeFacts) refuses(placed admitted, pod *corev1.Pod) *plan.Refusal {
	if r := refusedSecurity(n.Node, pod); r != nil {
		return r
	}
	wants := placeOf(pod)
	if r, _ := placed.shortage(n.Allocatable, wants.requests); r != nil {
		return r
	}
	if placed.taken(wants.ports) {
		return portsTaken()
	}
	return nil
}

func (n *NodeFacts) preview(vols *volumes.Manager, pod *corev1.Pod) Preview {
	p := Preview{
		Namespace: pod.Namespace, Name: pod.Name, UID: string(pod.UID), QOSClass: cgroups.QOSClass(pod),
		Requests: cgroups.ExplainRequests(pod), Limits: cgroups.ExplainLimits(pod),
		Dir: n.podDir(pod), Stages: stages(pod),
	}
	p.Cgroup = CgroupPreview{Path: cgroups.PodPath(n.CgroupRoot, p.UID, p.QOSClass)}
	p.Cgroup.V1 = cgroups.Files(cgroups.V1, cgroups.PodResources(pod, n.cgroupOptionsFor(cgroups.V1)))
	p.Cgroup.V2 = cgroups.Files(cgroups.V2, cgroups.PodResources(pod, n.cgroupOptionsFor(cgroups.V2)))
	p.Warnings = append(p.Warnings, unlimited(pod)...)

	ports, err := network.HostPorts(&pod.Spec)
	p.problem(err)
	for _, port := range ports {
		p.HostPorts = append(p.HostPorts, fmt.Sprintf("%s to container port %d", port, port.ContainerPort))
	}
	dns, err := network.ReadHostDNS(n.ResolvConf)
	p.problem(err)
	_, warnings := network.ResolvConf(&pod.Spec, dns)
	p.Warnings = append(p.Warnings, warnings...)

	own, err := n.namespaceOptions(pod)
	p.problem(err)
	p.Hostname = own.Hostname
	if ownUsers(pod) {
		own.IDs = n.ExampleIDs
		p.Users = fmt.Sprintf("0 to %d in the Pod are %d to %d on the node, or others that no Pod has when it starts", own.IDs.Size-1, own.IDs.HostID, own.IDs.HostID+own.IDs.Size-1)
	}
	pinned := runtime.NamespacePaths(n.netnsDir(pod), own)
	sandbox := sandboxID(pod, 0)
	p.Sandbox, err = n.pause(pod, pinned, sandbox, nil)
	p.problem(err)
	volumes, err := vols.Preview(n.volumesPod(pod), pod.Spec.Volumes)
	p.problem(err)
	for i := range pod.Spec.InitContainers {
		field := fmt.Sprintf("spec.initContainers[%d].", i)
		p.Init = append(p.Init, n.previewContainer(&p, field, pod, &pod.Spec.InitContainers[i], pinned, vols, volumes))
	}
	for i := range pod.Spec.Containers {
		field := fmt.Sprintf("spec.containers[%d].", i)
		p.Apps = append(p.Apps, n.previewContainer(&p, field, pod, &pod.Spec.Containers[i], pinned, vols, volumes))
	}
	return p
}

func (p *Preview) problem(err error) {
	if err != nil {
		p.Problems = append(p.Problems, err.Error())
	}
}

func (n *NodeFacts) cgroupOptionsFor(mode cgroups.Mode) cgroups.Options {
	o := n.CgroupOptions
	o.Mode = mode
	return o
}

// previewContainer composes the first attempt of a container in the first sandbox.
func (n *NodeFacts) previewContainer(p *Preview, field string, pod *corev1.Pod, c *corev1.Container,
	pinned runtime.Namespaces, vm *volumes.Manager, vols volumes.Volumes) ContainerPreview {
	id := containerID(pod, sandboxID(pod, 0), c.Name, 0)
	out := ContainerPreview{Name: c.Name, Image: c.Image, PullPolicy: c.ImagePullPolicy, ID: id}
	out.Cgroup.Path = n.containerCgroup(pod, id)
	out.Cgroup.V1 = cgroups.ContainerFiles(cgroups.V1, cgroups.ContainerResources(pod, c, n.cgroupOptionsFor(cgroups.V1)))
	out.Cgroup.V2 = cgroups.ContainerFiles(cgroups.V2, cgroups.ContainerResources(pod, c, n.cgroupOptionsFor(cgroups.V2)))
	var err error
	out.Spec, err = n.previewSpec(p, &out, pod, c, id, pinned, vm, vols)
	if err != nil {
		p.problem(fmt.Errorf("%s%w", field, err))
	}
	return out
}

func (n *NodeFacts) previewSpec(p *Preview, out *ContainerPreview, pod *corev1.Pod, c *corev1.Container, id string,
	pinned runtime.Namespaces, vm *volumes.Manager, vols volumes.Volumes) (*specs.Spec, error) {
	ips := []string{podIPPlaceholder}
	if pod.Spec.HostNetwork {
		ips = n.HostIPs()
	}
	env, err := n.env(pod, c, p.envSources(c, ips))
	if err != nil {
		return nil, err
	}
	volumeMounts, err := expandSubPaths(c, &env)
	if err != nil {
		return nil, err
	}
	volumesPod := n.volumesPod(pod)
	volumesPod.UserNamespace = pinned.User
	mounts, err := vm.PreviewMounts(volumesPod, c.Name, vols, volumeMounts)
	if err != nil {
		return nil, err
	}
	o, err := n.options(pod, c, id, &env, mounts)
	if err != nil {
		return nil, err
	}
	if o.Added = volumes.PreviewDevices(c.VolumeDevices); len(o.Added) > 0 {
		p.Warnings = append(p.Warnings, fmt.Sprintf("container %s: the numbers and the rules of its volumeDevices are not shown", c.Name))
	}
	o.Namespaces = namespaces(pod, pinned, 0)
	if sharesPID(pod) {
		o.Namespaces.PID = pausePIDPlaceholder
	}
	for _, w := range o.Security.Warnings {
		if !slices.Contains(p.Warnings, w) {
			p.Warnings = append(p.Warnings, w)
		}
	}
	for _, capability := range spec.MissingCapabilities(o.Security, o.Node) {
		p.Warnings = append(p.Warnings, fmt.Sprintf("container %s: securityContext.capabilities.add: this node cannot give %s, it is left out", c.Name, capability))
	}
	out.OOMScoreAdj = o.OOMScoreAdj
	out.CommandFromImage = len(c.Command) == 0
	out.WorkingDirFromImage = c.WorkingDir == ""
	out.UserFromImage = o.Security.RunAsUser == nil
	if out.CommandFromImage {
		o.Image = ocispec.ImageConfig{Entrypoint: []string{"<entrypoint of " + c.Image + ">"}, Cmd: []string{"<cmd>"}}
	}
	if o.Seccomp, err = spec.LoadProfiles(o.Security, o.Node); err != nil {
		return nil, err
	}
	// Without the image the user counts as root, and a name cannot be looked up.
	o.UserFiles = &spec.UserFiles{}
	if out.UserFromImage && o.Security.RunAsNonRoot {
		p.Warnings = append(p.Warnings, fmt.Sprintf("container %s: runAsNonRoot without runAsUser: image %s must name a user by a number other than 0", c.Name, c.Image))
		o.Security.RunAsNonRoot = false
	}
	return spec.Build(o, func(func(string) error) error { return errors.New("images are not looked at") })
}

// stages are what starts when.
func stages(pod *corev1.Pod) []Stage {
	out := []Stage{{Kind: "sandbox"}}
	for i := range pod.Spec.InitContainers {
		c := &pod.Spec.InitContainers[i]
		kind := "init"
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			kind = "sidecar"
		}
		out = append(out, Stage{kind, []string{c.Name}})
	}
	apps := Stage{Kind: "apps"}
	for i := range pod.Spec.Containers {
		apps.Containers = append(apps.Containers, pod.Spec.Containers[i].Name)
	}
	return append(out, apps)
}

// unlimited tells of effective limits that the Pod's cgroup does not have, since
// not every container has one.
func unlimited(pod *corev1.Pod) []string {
	limits := cgroups.EffectiveOf(pod).Limits
	values := cgroups.PodResources(pod, cgroups.Options{})
	var out []string
	if q := limits[corev1.ResourceCPU]; !q.IsZero() && values.CPU.Quota == nil {
		out = append(out, "not every container has a cpu limit, so the Pod's cgroup has none; only the containers that have one are held to it")
	}
	if q := limits[corev1.ResourceMemory]; !q.IsZero() && values.Memory == nil {
		out = append(out, "not every container has a memory limit, so the Pod's cgroup has none; only the containers that have one are held to it")
	}
	return out
}
