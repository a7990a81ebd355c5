// SPDX-License-Identifier: Apache-2.0

package stats

import (
	goruntime "runtime"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/minikubelet/minikubelet/cgroups"
	"github.com/minikubelet/minikubelet/network"
)

// cadvisor is the collector of /metrics/cadvisor: the basic series of containers
// with the names and labels that cAdvisor gives them in the kubelet. As there, the
// machine has the id "/", a Pod's cgroup no container name, and the network is the
// Pod's.
type cadvisor struct {
	r *Reader
	// simple have one value for each cgroup.
	simple []simpleMetric
	// perDevice and perInterface have one more label.
	perDevice    []deviceMetric
	perInterface []interfaceMetric

	cpu, failures, started, seen, cores, memory, scrapeError metric
	pressure                                                 map[string]metric
}

type simpleMetric struct {
	metric
	value func(*cgroups.Usage) float64
}

type deviceMetric struct {
	metric
	value func(cgroups.DeviceIO) uint64
}

type interfaceMetric struct {
	metric
	value func(network.Counters) uint64
}

// identity are the labels of cAdvisor in the kubelet.
func identity(more ...string) []string {
	return append([]string{"id", "name", "image", "namespace", "pod", "container"}, more...)
}

func newCadvisor(r *Reader) *cadvisor {
	return &cadvisor{
		r: r, simple: simpleMetrics(), perDevice: deviceMetrics(), perInterface: interfaceMetrics(), pressure: pressureMetrics(),
		cpu:         counter("container_cpu_usage_seconds_total", "CPU time used, in seconds of one core", identity("cpu")...),
		failures:    counter("container_memory_failures_total", "Page faults", identity("failure_type", "scope")...),
		started:     gauge("container_start_time_seconds", "When the container was started, in seconds since the epoch", identity()...),
		seen:        gauge("container_last_seen", "When the container was seen last, in seconds since the epoch", identity()...),
		cores:       gauge("machine_cpu_cores", "Number of logical processors"),
		memory:      gauge("machine_memory_bytes", "Memory of the machine in bytes"),
		scrapeError: gauge("container_scrape_error", "1 if the metrics of containers could not be read, 0 otherwise"),
	}
}

func simpleMetrics() []simpleMetric {
	number := func(field func(*cgroups.Usage) uint64) func(*cgroups.Usage) float64 {
		return func(u *cgroups.Usage) float64 { return float64(field(u)) }
	}
	nanos := func(field func(*cgroups.Usage) uint64) func(*cgroups.Usage) float64 {
		return func(u *cgroups.Usage) float64 { return seconds(field(u)) }
	}
	type usage = cgroups.Usage
	id := identity()
	return []simpleMetric{
		{counter("container_cpu_user_seconds_total", "CPU time in user mode, in seconds", id...), nanos(func(u *usage) uint64 { return u.UserNanos })},
		{counter("container_cpu_system_seconds_total", "CPU time in the kernel, in seconds", id...), nanos(func(u *usage) uint64 { return u.SystemNanos })},
		{counter("container_cpu_cfs_periods_total", "Periods of the CPU quota", id...), number(func(u *usage) uint64 { return u.Periods })},
		{counter("container_cpu_cfs_throttled_periods_total", "Periods in which the CPU quota was used up", id...), number(func(u *usage) uint64 { return u.ThrottledPeriods })},
		{counter("container_cpu_cfs_throttled_seconds_total", "Time of being held up by the CPU quota", id...), nanos(func(u *usage) uint64 { return u.ThrottledNanos })},
		{gauge("container_memory_usage_bytes", "Memory in use, page cache included", id...), number(func(u *usage) uint64 { return u.CPUMemory.Usage })},
		{gauge("container_memory_working_set_bytes", "Memory in use less inactive file pages", id...), number(func(u *usage) uint64 { return u.WorkingSet })},
		{gauge("container_memory_rss", "Anonymous memory in bytes", id...), number(func(u *usage) uint64 { return u.RSS })},
		{gauge("container_memory_cache", "Page cache in bytes", id...), number(func(u *usage) uint64 { return u.Cache })},
		{gauge("container_memory_mapped_file", "Mapped files in bytes", id...), number(func(u *usage) uint64 { return u.MappedFile })},
		{gauge("container_memory_swap", "Swap space used in bytes", id...), number(func(u *usage) uint64 { return u.Swap })},
		{gauge("container_memory_max_usage_bytes", "The most memory that was in use", id...), number(func(u *usage) uint64 { return u.MemoryPeak })},
		{gauge("container_spec_memory_limit_bytes", "Memory limit, 0 for none", id...), number(func(u *usage) uint64 { return u.MemoryLimit })},
		{counter("container_oom_events_total", "Processes killed for want of memory", id...), number(func(u *usage) uint64 { return u.OOMKills })},
		{gauge("container_processes", "Processes in the container", id...), number(func(u *usage) uint64 { return u.Processes })},
		{gauge("container_threads", "Threads in the container", id...), number(func(u *usage) uint64 { return u.Threads })},
	}
}

func deviceMetrics() []deviceMetric {
	id := identity("device")
	return []deviceMetric{
		{counter("container_fs_reads_bytes_total", "Bytes read", id...), func(d cgroups.DeviceIO) uint64 { return d.ReadBytes }},
		{counter("container_fs_writes_bytes_total", "Bytes written", id...), func(d cgroups.DeviceIO) uint64 { return d.WriteBytes }},
		{counter("container_fs_reads_total", "Reads", id...), func(d cgroups.DeviceIO) uint64 { return d.ReadCount }},
		{counter("container_fs_writes_total", "Writes", id...), func(d cgroups.DeviceIO) uint64 { return d.WriteCount }},
	}
}

func interfaceMetrics() []interfaceMetric {
	id := identity("interface")
	of := func(name, help string, value func(network.Counters) uint64) interfaceMetric {
		return interfaceMetric{counter("container_network_"+name+"_total", help, id...), value}
	}
	return []interfaceMetric{
		of("receive_bytes", "Bytes received", func(c network.Counters) uint64 { return c.RxBytes }),
		of("receive_packets", "Packets received", func(c network.Counters) uint64 { return c.RxPackets }),
		of("receive_errors", "Errors while receiving", func(c network.Counters) uint64 { return c.RxErrors }),
		of("receive_packets_dropped", "Packets dropped while receiving", func(c network.Counters) uint64 { return c.RxDropped }),
		of("transmit_bytes", "Bytes sent", func(c network.Counters) uint64 { return c.TxBytes }),
		of("transmit_packets", "Packets sent", func(c network.Counters) uint64 { return c.TxPackets }),
		of("transmit_errors", "Errors while sending", func(c network.Counters) uint64 { return c.TxErrors }),
		of("transmit_packets_dropped", "Packets dropped while sending", func(c network.Counters) uint64 { return c.TxDropped }),
	}
}

func pressureMetrics() map[string]metric {
	out := make(map[string]metric)
	for _, what := range []string{"cpu", "memory", "io"} {
		out[what+" waiting"] = counter("container_pressure_"+what+"_waiting_seconds_total", "Time in which some tasks waited for "+what, identity()...)
		out[what+" stalled"] = counter("container_pressure_"+what+"_stalled_seconds_total", "Time in which all tasks waited for "+what, identity()...)
	}
	return out
}

// Describe describes nothing: what there is depends on what runs.
func (*cadvisor) Describe(chan<- *prometheus.Desc) {}

// Collect reads once for each scrape.
func (f *cadvisor) Collect(out chan<- prometheus.Metric) {
	e := emitter{out}
	tree := f.r.cfg.Cgroups
	node := tree.NodeUsage()
	e.now(f.cores, float64(goruntime.NumCPU()))
	e.now(f.memory, float64(node.MemoryTotal))
	machine := []string{"/", "", "", "", "", ""}
	f.cgroup(e, &cgroups.Usage{
		CPUMemory: node.CPUMemory, Threads: node.Tasks,
		CPUPressure: node.CPUPressure, MemoryPressure: node.MemoryPressure, IOPressure: node.IOPressure,
	}, node.BootedAt, machine)
	var traffic network.Traffic
	failed := 0.0
	if n := f.r.cfg.Network; n != nil {
		var err error
		if traffic, err = n.Traffic(); err != nil {
			failed = 1
			f.r.cfg.Log.Warn("/metrics/cadvisor lacks the network", "err", err)
		}
	}
	for _, c := range traffic.Host {
		f.network(e, c, machine)
	}
	for _, p := range f.r.pods() {
		pod := []string{p.cgroup, "", "", p.Namespace, p.Name, ""}
		if u, err := tree.Usage(p.cgroup); err == nil {
			f.cgroup(e, &u, p.sandbox.CreatedAt, pod)
		}
		sandbox := []string{p.sandbox.CgroupsPath, p.sandbox.ID, p.sandbox.Image, p.Namespace, p.Name, ""}
		if u, err := tree.Usage(p.sandbox.CgroupsPath); err == nil {
			f.cgroup(e, &u, p.sandbox.StartedAt, sandbox)
		}
		if c, ok := traffic.Pods[p.UID]; ok {
			f.network(e, c, sandbox)
		}
		for _, c := range p.containers {
			if u, err := tree.Usage(c.CgroupsPath); err == nil {
				f.cgroup(e, &u, c.StartedAt, []string{c.CgroupsPath, c.ID, c.Image, p.Namespace, p.Name, c.Name})
			}
		}
	}
	e.now(f.scrapeError, failed)
}

// cgroup sends all series of one.
func (f *cadvisor) cgroup(e emitter, u *cgroups.Usage, began time.Time, labels []string) {
	e.at(u.At, f.cpu, seconds(u.CPUNanos), with(labels, "total")...)
	for _, m := range f.simple {
		e.at(u.At, m.metric, m.value(u), labels...)
	}
	e.at(u.At, f.failures, float64(u.Faults), with(labels, "pgfault", "hierarchy")...)
	e.at(u.At, f.failures, float64(u.MajorFaults), with(labels, "pgmajfault", "hierarchy")...)
	for _, d := range u.IO {
		for _, m := range f.perDevice {
			e.at(u.At, m.metric, float64(m.value(d)), with(labels, d.Device)...)
		}
	}
	for what, p := range map[string]*cgroups.Pressure{"cpu": u.CPUPressure, "memory": u.MemoryPressure, "io": u.IOPressure} {
		if p != nil {
			e.at(u.At, f.pressure[what+" waiting"], seconds(p.Some.TotalNanos), labels...)
			e.at(u.At, f.pressure[what+" stalled"], seconds(p.Full.TotalNanos), labels...)
		}
	}
	e.now(f.started, float64(began.Unix()), labels...)
	e.now(f.seen, float64(u.At.Unix()), labels...)
}

func (f *cadvisor) network(e emitter, c network.Counters, labels []string) {
	for _, m := range f.perInterface {
		e.now(m.metric, float64(m.value(c)), with(labels, c.Name)...)
	}
}

func with(labels []string, more ...string) []string { return slices.Concat(labels, more) }
