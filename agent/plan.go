// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"os"
	"path"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"

	"github.com/minikubelet/minikubelet/api"
	"github.com/minikubelet/minikubelet/cgroups"
	"github.com/minikubelet/minikubelet/network"
	"github.com/minikubelet/minikubelet/podmgr"
	"github.com/minikubelet/minikubelet/runtime/spec"
	"github.com/minikubelet/minikubelet/volumes"
)

// Plan shows what would become of the Pods of a manifest on this machine, as if
// no other Pod ran. It makes nothing, and needs neither root nor a daemon: without
// root it shows what root would do.
func Plan(cfg Config, objects []api.Object) ([]podmgr.Preview, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	facts, err := cfg.nodeFacts()
	if err != nil {
		return nil, err
	}
	var pods []*corev1.Pod
	for _, o := range objects {
		if o.Pod == nil { // what Pods use is not looked up
			continue
		}
		pod := o.Pod.DeepCopy()
		file := o.File
		if abs, err := filepath.Abs(file); err == nil {
			file = abs
		}
		pod.UID = api.PodUID(cfg.NodeName, file, o.Canonical)
		pods = append(pods, pod)
	}
	return podmgr.PreviewPods(facts, volumes.New(volumes.Config{AllowedHostPaths: cfg.AllowedHostPaths}), pods), nil
}

// nodeFacts are those that an agent with this configuration would work with.
func (c *Config) nodeFacts() (podmgr.NodeFacts, error) {
	capacity, allocatable, err := c.nodeResources()
	if err != nil {
		return podmgr.NodeFacts{}, err
	}
	machine, err := cgroups.Probe()
	if err != nil {
		return podmgr.NodeFacts{}, err
	}
	node, err := c.specNode()
	if err != nil {
		return podmgr.NodeFacts{}, err
	}
	if os.Geteuid() != 0 {
		node.Capabilities, node.OOMScoreAdjFloor = nil, -1000
	}
	machine.Options.PidsLimit = c.PodPidsLimit
	ids, err := c.idRanges()
	if err != nil {
		return podmgr.NodeFacts{}, err
	}
	return podmgr.NodeFacts{
		NodeName: c.NodeName, HostIPs: newHostAddress(network.HostIP).ips, Capacity: capacity, Allocatable: allocatable,
		PodsDir: c.podsDir(), NetnsDir: c.netnsDir(), LogDir: c.LogDir, ResolvConf: network.DefaultResolvConf, PauseRoot: c.pauseRoot(),
		CgroupRoot: path.Join(c.CgroupRoot, c.name()), CgroupOptions: machine.Options, Node: node,
		ExampleIDs: ids.Example(),
	}, nil
}

// specNode is what container specifications have to know of machine and
// configuration.
func (c *Config) specNode() (spec.Node, error) {
	node, err := spec.DetectNode()
	if err != nil {
		return spec.Node{}, err
	}
	node.CompatSyscalls, node.SeccompDefault, node.SeccompDir = c.CompatSyscalls, spec.Seccomp(c.SeccompDefault), c.seccompDir()
	node.Sysctls, err = spec.AllowSysctls(c.AllowedUnsafeSysctls)
	return node, err
}
