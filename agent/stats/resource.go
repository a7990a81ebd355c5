// SPDX-License-Identifier: Apache-2.0

package stats

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/minikubelet/minikubelet/cgroups"
)

// resources is the collector of /metrics/resource: CPU and memory of the node, its
// Pods and containers, by the names and labels that the kubelet uses.
type resources struct {
	r                                      *Reader
	node, pod, container                   [3]metric // CPU time, working set, swap
	started, scrapeError, scrapeErrorOlder metric
}

func newResources(r *Reader) *resources {
	three := func(what, of string, labels ...string) [3]metric {
		return [3]metric{
			counter(what+"_cpu_usage_seconds_total", "CPU time used by the "+of+", in seconds of one core", labels...),
			gauge(what+"_memory_working_set_bytes", "Working set of the "+of+" in bytes", labels...),
			gauge(what+"_swap_usage_bytes", "Swap space used by the "+of+" in bytes", labels...),
		}
	}
	labels := []string{"container", "pod", "namespace"}
	return &resources{
		r: r, node: three("node", "node"), pod: three("pod", "Pod", labels[1:]...), container: three("container", "container", labels...),
		started:          gauge("container_start_time_seconds", "When the container was started, in seconds since the epoch", labels...),
		scrapeError:      gauge("resource_scrape_error", "1 if the metrics of containers could not be read, 0 otherwise"),
		scrapeErrorOlder: gauge("scrape_error", "1 if the metrics of containers could not be read, 0 otherwise"),
	}
}

// Describe describes nothing: what there is depends on what runs.
func (*resources) Describe(chan<- *prometheus.Desc) {}

// Collect reads once for each scrape.
func (f *resources) Collect(out chan<- prometheus.Metric) {
	s := f.r.sample()
	e := emitter{out}
	e.usage(s.node.CPUMemory, f.node)
	for _, p := range s.pods {
		for _, c := range p.containers {
			e.now(f.started, float64(c.StartedAt.UnixNano())/1e9, c.Name, p.Name, p.Namespace)
			e.usage(c.CPUMemory, f.container, c.Name, p.Name, p.Namespace)
		}
		e.usage(p.CPUMemory, f.pod, p.Name, p.Namespace)
	}
	e.now(f.scrapeError, 0)
	e.now(f.scrapeErrorOlder, 0)
}

// metric is a family to which a collector adds samples.
type metric struct {
	*prometheus.Desc
	kind prometheus.ValueType
}

func counter(name, help string, labels ...string) metric {
	return metric{prometheus.NewDesc(name, help, labels, nil), prometheus.CounterValue}
}

func gauge(name, help string, labels ...string) metric {
	return metric{prometheus.NewDesc(name, help, labels, nil), prometheus.GaugeValue}
}

func seconds(nanos uint64) float64 { return float64(nanos) / 1e9 }

// emitter sends samples.
type emitter struct{ out chan<- prometheus.Metric }

func (e emitter) now(m metric, value float64, labels ...string) {
	e.out <- prometheus.MustNewConstMetric(m.Desc, m.kind, value, labels...)
}

// at sends one with the time of the reading, as the kubelet does.
func (e emitter) at(t time.Time, m metric, value float64, labels ...string) {
	e.out <- prometheus.NewMetricWithTimestamp(t, prometheus.MustNewConstMetric(m.Desc, m.kind, value, labels...))
}

// usage sends CPU time, working set and swap.
func (e emitter) usage(u cgroups.CPUMemory, m [3]metric, labels ...string) {
	e.at(u.At, m[0], seconds(u.CPUNanos), labels...)
	e.at(u.At, m[1], float64(u.WorkingSet), labels...)
	e.at(u.At, m[2], float64(u.Swap), labels...)
}
