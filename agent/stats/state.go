// SPDX-License-Identifier: Apache-2.0

package stats

import (
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"

	"github.com/minikubelet/minikubelet/cgroups"
	"github.com/minikubelet/minikubelet/runtime"
)

// state is the collector of what is asked for at each scrape.
type state struct {
	r                                           *Reader
	pods, containers, desired, active, restarts metric
	images, imageBytes                          metric
	commits, writes, failed, commitTime         metric
	size, watchers, cgroupVersion               metric
}

func newState(r *Reader) *state {
	return &state{
		r:             r,
		pods:          gauge("kubelet_running_pods", "Pods with a running sandbox"),
		containers:    gauge("kubelet_running_containers", "Containers by state", "container_state"),
		desired:       gauge("kubelet_desired_pods", "Pods that are to run; static ones come from manifests", "static"),
		active:        gauge("kubelet_active_pods", "Pods that are not over; static ones come from manifests", "static"),
		restarts:      counter("kube_pod_container_status_restarts_total", "Restarts of a container", "namespace", "pod", "uid", "container"),
		images:        gauge("minikubelet_images", "Images in the image store"),
		imageBytes:    gauge("minikubelet_images_bytes", "Size of the images, compressed"),
		commits:       counter("minikubelet_store_commits_total", "Transactions of the object store, each waiting for the disk"),
		writes:        counter("minikubelet_store_writes_total", "Changes in these transactions"),
		failed:        counter("minikubelet_store_failures_total", "Transactions that could not be written"),
		commitTime:    counter("minikubelet_store_commit_seconds_total", "Time that transactions took"),
		size:          gauge("minikubelet_store_bytes", "Size of the object store's file"),
		watchers:      gauge("minikubelet_store_watchers", "Open watches of the object store"),
		cgroupVersion: gauge("kubelet_cgroup_version", "Version of the control groups in use"),
	}
}

// Describe describes nothing: what there is depends on what runs.
func (*state) Describe(chan<- *prometheus.Desc) {}

// Collect asks.
func (c *state) Collect(out chan<- prometheus.Metric) {
	e := emitter{out}
	e.now(c.pods, float64(len(c.r.pods())))
	states := map[runtime.State]int{runtime.StateRunning: 0, runtime.StateExited: 0, runtime.StateCreated: 0}
	for _, s := range c.r.cfg.Runtime.List() {
		if s.Kind != runtime.KindSandbox {
			states[s.State]++
		}
	}
	for name, n := range states {
		e.now(c.containers, float64(n), strings.ToLower(string(name)))
	}
	version := 1.0
	if c.r.cfg.Cgroups.Mode() == cgroups.V2 {
		version = 2
	}
	e.now(c.cgroupVersion, version)
	c.podObjects(e)
	s := c.r.cfg.Store.Stats()
	e.now(c.commits, float64(s.Commits))
	e.now(c.writes, float64(s.Writes))
	e.now(c.failed, float64(s.Failed))
	e.now(c.commitTime, s.CommitTime.Seconds())
	e.now(c.size, float64(s.Bytes))
	e.now(c.watchers, float64(s.Watchers))
}

// podObjects tells what only the store knows.
func (c *state) podObjects(e emitter) {
	pods, err := c.r.listPods()
	if err != nil {
		c.r.cfg.Log.Warn("/metrics lacks the Pods", "err", err)
		return
	}
	var desired, active [2]int
	for i := range pods {
		p := &pods[i]
		static := 0
		if source := p.Annotations["kubernetes.io/config.source"]; source != "" && source != "api" {
			static = 1
		}
		desired[static]++
		if p.Status.Phase != corev1.PodSucceeded && p.Status.Phase != corev1.PodFailed {
			active[static]++
		}
		for _, list := range [][]corev1.ContainerStatus{p.Status.InitContainerStatuses, p.Status.ContainerStatuses} {
			for _, s := range list {
				e.now(c.restarts, float64(s.RestartCount), p.Namespace, p.Name, string(p.UID), s.Name)
			}
		}
	}
	for static, word := range []string{"", "true"} {
		e.now(c.desired, float64(desired[static]), word)
		e.now(c.active, float64(active[static]), word)
	}
}
