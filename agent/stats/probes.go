// SPDX-License-Identifier: Apache-2.0

package stats

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/minikubelet/minikubelet/podmgr"
)

// probeKey is what the kubelet counts probes by.
type probeKey struct{ uid, namespace, pod, container, kind, result string }

// probeCount is how often, and how long in sum.
type probeCount struct {
	count   uint64
	seconds float64
}

// OnProbe is podmgr's. The counts of a Pod go with the Pod.
func (r *Reader) OnProbe(p podmgr.Probed) {
	key := probeKey{p.UID, p.Namespace, p.Pod, p.Container, p.Kind, p.Result}
	o := r.own
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.probes[key] == nil {
		o.probes[key] = &probeCount{}
	}
	o.probes[key].count++
	o.probes[key].seconds += p.Took.Seconds()
}

// probes is the collector of /metrics/probes.
type probes struct {
	own      *own
	total    metric
	duration *prometheus.Desc
}

func newProbes(o *own) *probes {
	return &probes{
		own: o,
		total: counter("prober_probe_total", "Liveness, readiness and startup probes of a container by result",
			"probe_type", "result", "container", "pod", "namespace", "pod_uid"),
		duration: prometheus.NewDesc("prober_probe_duration_seconds", "Time that probes took",
			[]string{"probe_type", "container", "pod", "namespace"}, nil),
	}
}

// Describe describes nothing: what there is depends on what runs.
func (*probes) Describe(chan<- *prometheus.Desc) {}

// Collect tells the counts.
func (c *probes) Collect(out chan<- prometheus.Metric) {
	c.own.mu.Lock()
	counts := make(map[probeKey]probeCount, len(c.own.probes))
	for key, n := range c.own.probes {
		counts[key] = *n
	}
	c.own.mu.Unlock()
	sums := make(map[probeKey]probeCount) // of the series that do not tell results and UIDs apart
	for key, n := range counts {
		emitter{out}.now(c.total, float64(n.count), key.kind, key.result, key.container, key.pod, key.namespace, key.uid)
		key.result, key.uid = "", ""
		sum := sums[key]
		sums[key] = probeCount{sum.count + n.count, sum.seconds + n.seconds}
	}
	for key, n := range sums {
		out <- prometheus.MustNewConstSummary(c.duration, n.count, n.seconds, nil, key.kind, key.container, key.pod, key.namespace)
	}
}
