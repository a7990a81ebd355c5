// SPDX-License-Identifier: Apache-2.0

package stats

import (
	goruntime "runtime"
	"strconv"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	corev1 "k8s.io/api/core/v1"

	"github.com/minikubelet/minikubelet/apiserver"
	"github.com/minikubelet/minikubelet/podmgr"
	"github.com/minikubelet/minikubelet/podmgr/plan"
)

// own are the agent's own metrics, at /metrics: by the names of the kubelet and of
// kube-apiserver where these have the same, else beginning with minikubelet_.
type own struct {
	registry *prometheus.Registry

	podStart, podStartTotal, podStartSLI prometheus.Histogram
	steps                                *prometheus.HistogramVec
	operations, operationErrors          *prometheus.CounterVec
	podsStarted, podStartErrors          prometheus.Counter
	containersStarted, containerErrors   *prometheus.CounterVec
	pull                                 prometheus.Histogram

	requests *prometheus.CounterVec
	latency  *prometheus.HistogramVec

	mu     sync.Mutex
	starts map[string]*podStart
	probes map[probeKey]*probeCount
}

// startBuckets are the kubelet's, and finer ones below them: Pods start faster
// here.
func startBuckets() []float64 {
	return []float64{0.025, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 1, 2, 3, 4, 5, 6, 8, 10, 20, 30, 45, 60, 120, 180, 240, 300, 360, 480, 600, 900, 1200, 1800, 2700, 3600}
}

func newOwn(r *Reader) *own {
	o := &own{registry: prometheus.NewRegistry(), starts: make(map[string]*podStart), probes: make(map[probeKey]*probeCount)}
	histogram := func(name, help string, buckets []float64) prometheus.Histogram {
		h := prometheus.NewHistogram(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets})
		o.registry.MustRegister(h)
		return h
	}
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
		o.registry.MustRegister(c)
		return c
	}
	histograms := func(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
		h := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets}, labels)
		o.registry.MustRegister(h)
		return h
	}
	o.podStart = histogram("kubelet_pod_start_duration_seconds", "Time from seeing a Pod first until it ran", startBuckets())
	o.podStartTotal = histogram("kubelet_pod_start_total_duration_seconds", "Time from a Pod's creation until it ran", startBuckets())
	o.podStartSLI = histogram("kubelet_pod_start_sli_duration_seconds",
		"Time from seeing a Pod first until it ran, less the time in which images were pulled or init containers ran", startBuckets())
	o.steps = histograms("kubelet_runtime_operations_duration_seconds", "Time of steps by type, the parts of making a sandbox included",
		prometheus.ExponentialBuckets(.001, 2.5, 14), "operation_type")
	o.operations = counter("kubelet_runtime_operations_total", "Steps by type", "operation_type")
	o.operationErrors = counter("kubelet_runtime_operations_errors_total", "Steps that failed, by type", "operation_type")
	o.podsStarted = counter("kubelet_started_pods_total", "Sandboxes that were to be made").WithLabelValues()
	o.podStartErrors = counter("kubelet_started_pods_errors_total", "Sandboxes that could not be made").WithLabelValues()
	o.containersStarted = counter("kubelet_started_containers_total", "Containers that were to be started", "container_type")
	o.containerErrors = counter("kubelet_started_containers_errors_total", "Containers that could not be started", "container_type")
	o.pull = histogram("kubelet_image_pull_duration_seconds", "Time of pulling an image", []float64{.1, .5, 1, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 3600})
	o.requests = counter("apiserver_request_total", "API requests", "verb", "group", "version", "resource", "subresource", "code")
	o.latency = histograms("apiserver_request_duration_seconds", "Time of API requests that are no watches and no streams",
		[]float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 5, 60}, "verb", "group", "version", "resource", "subresource")
	o.registry.MustRegister(
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), newState(r),
		constant("kubelet_node_name", "The node's name; always 1", prometheus.Labels{"node": r.cfg.NodeName}),
		constant("minikubelet_build_info", "What is running; always 1", prometheus.Labels{
			"version": r.cfg.Version, "kubernetes": r.cfg.KubernetesVersion, "goversion": goruntime.Version(),
		}),
	)
	return o
}

func constant(name, help string, labels prometheus.Labels) prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help, ConstLabels: labels}, func() float64 { return 1 })
}

// operation is the name that the kubelet gives to a step; steps that it does not
// have keep theirs.
func operation(step string) string {
	switch plan.Kind(step) {
	case plan.CreateSandbox:
		return "run_podsandbox"
	case plan.RemoveSandbox:
		return "remove_podsandbox"
	}
	out := []byte(step)
	for i, c := range out {
		if c == ' ' {
			out[i] = '_'
		}
	}
	return string(out)
}

// OnStep is podmgr's.
func (r *Reader) OnStep(s podmgr.Step) {
	o := r.own
	o.noteStep(s)
	if s.Canceled {
		return
	}
	name := operation(s.Name)
	o.operations.WithLabelValues(name).Inc()
	o.steps.WithLabelValues(name).Observe(s.Took.Seconds())
	failed := 0.0
	if s.Err != nil {
		failed = 1
		o.operationErrors.WithLabelValues(name).Inc()
	}
	switch plan.Kind(s.Name) {
	case plan.CreateSandbox:
		o.podsStarted.Inc()
		o.podStartErrors.Add(failed)
	case plan.StartContainer:
		kind := containerType(s.Pod, s.Container)
		o.containersStarted.WithLabelValues(kind).Inc()
		o.containerErrors.WithLabelValues(kind).Add(failed)
	case plan.PullImage:
		o.pull.Observe(s.Took.Seconds())
	}
}

func containerType(pod *corev1.Pod, name string) string {
	for _, c := range pod.Spec.InitContainers {
		if c.Name == name {
			return "init_container"
		}
	}
	for _, c := range pod.Spec.EphemeralContainers {
		if c.Name == name {
			return "ephemeral_container"
		}
	}
	return "container"
}

// OnRequest is apiserver's.
func (r *Reader) OnRequest(q apiserver.Request) {
	r.own.requests.WithLabelValues(q.Verb, q.Group, q.Version, q.Resource, q.Subresource, strconv.Itoa(q.Code)).Inc()
	if !q.Long {
		r.own.latency.WithLabelValues(q.Verb, q.Group, q.Version, q.Resource, q.Subresource).Observe(q.Took.Seconds())
	}
}
