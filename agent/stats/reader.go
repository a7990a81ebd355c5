// SPDX-License-Identifier: Apache-2.0

package stats

import (
	"log/slog"
	"path"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/minikubelet/minikubelet/cgroups"
	"github.com/minikubelet/minikubelet/network"
	"github.com/minikubelet/minikubelet/runtime"
	"github.com/minikubelet/minikubelet/runtime/image"
	"github.com/minikubelet/minikubelet/store"
	"github.com/minikubelet/minikubelet/volumes"
)

// Config is where figures come from. It is used, not owned.
type Config struct {
	Store   *store.Store
	Cgroups *cgroups.Tree
	Runtime *runtime.Runtime
	Volumes *volumes.Manager
	Images  *image.Store
	Network *network.Network // nil: without a Pod network

	NodeName string
	// DataDir's file system is the node's; ImageDir's holds images and what containers
	// write; PodsDir has the Pods' volumes.
	DataDir, ImageDir, PodsDir, LogDir string
	// Version is the agent's, KubernetesVersion that of its API.
	Version, KubernetesVersion string
	// Configz is what /configz shows of the configuration: it must hold no secret.
	Configz any
	Log     *slog.Logger
}

// Reader answers. It is safe for concurrent use.
type Reader struct {
	cfg     Config
	began   time.Time
	samples samples
	disk    disk
	own     *own
}

// New makes a reader. The kernel is not touched before somebody asks.
func New(cfg Config) *Reader {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	r := &Reader{cfg: cfg, began: time.Now()}
	r.samples.init(r.sample)
	r.disk.init(r.measure)
	r.own = newOwn(r)
	return r
}

// pod is one with a sandbox on the machine.
type pod struct {
	runtime.Pod
	cgroup     string
	sandbox    runtime.Status
	containers []runtime.Status // that run, by name
}

// pods finds the Pods that have a running sandbox, sorted by namespace and name.
// It reads memory alone.
func (r *Reader) pods() []pod {
	byUID := make(map[string]*pod)
	list := r.cfg.Runtime.List()
	for _, s := range list {
		if s.Kind == runtime.KindSandbox && s.State == runtime.StateRunning && s.CgroupsPath != "" {
			byUID[s.Pod.UID] = &pod{Pod: s.Pod, cgroup: path.Dir(s.CgroupsPath), sandbox: s}
		}
	}
	for _, s := range list {
		if p := byUID[s.Pod.UID]; p != nil && s.Kind != runtime.KindSandbox && s.State == runtime.StateRunning && s.CgroupsPath != "" {
			p.containers = append(p.containers, s)
		}
	}
	out := make([]pod, 0, len(byUID))
	for _, p := range byUID {
		slices.SortFunc(p.containers, func(a, b runtime.Status) int { return strings.Compare(a.Name, b.Name) })
		out = append(out, *p)
	}
	slices.SortFunc(out, func(a, b pod) int {
		return strings.Compare(a.Namespace+"/"+a.Name+"/"+a.UID, b.Namespace+"/"+b.Name+"/"+b.UID)
	})
	return out
}

// sample is what everything used of CPU and memory at one moment.
type sample struct {
	at   time.Time
	node cgroups.NodeUsage
	pods []podSample
	// by has all readings by cgroup, "/" for the machine.
	by map[string]cgroups.CPUMemory
}

type podSample struct {
	pod
	cgroups.CPUMemory
	containers []containerSample
}

type containerSample struct {
	runtime.Status
	cgroups.CPUMemory
}

// sample reads. What ends meanwhile is left out.
func (r *Reader) sample() *sample {
	s := &sample{at: time.Now(), node: r.cfg.Cgroups.NodeUsage(), by: make(map[string]cgroups.CPUMemory)}
	s.by["/"] = s.node.CPUMemory
	for _, p := range r.pods() {
		usage, err := r.cfg.Cgroups.CPUMemory(p.cgroup)
		if err != nil {
			continue
		}
		ps := podSample{pod: p, CPUMemory: usage}
		s.by[p.cgroup] = usage
		for _, c := range p.containers {
			if usage, err := r.cfg.Cgroups.CPUMemory(c.CgroupsPath); err == nil {
				s.by[c.CgroupsPath] = usage
				ps.containers = append(ps.containers, containerSample{c, usage})
			}
		}
		s.pods = append(s.pods, ps)
	}
	return s
}

// podObjects are the store's Pods by UID, for what only they know.
func (r *Reader) podObjects() (map[types.UID]*corev1.Pod, error) {
	pods, err := r.listPods()
	if err != nil {
		return nil, err
	}
	out := make(map[types.UID]*corev1.Pod, len(pods))
	for i := range pods {
		out[pods[i].UID] = &pods[i]
	}
	return out, nil
}

// object is as much of the Pod's object as names things.
func (p *pod) object() *corev1.Pod {
	o := &corev1.Pod{}
	o.Namespace, o.Name, o.UID = p.Namespace, p.Name, types.UID(p.UID)
	return o
}
