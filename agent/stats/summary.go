// SPDX-License-Identifier: Apache-2.0

package stats

import (
	"context"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	summary "k8s.io/kubelet/pkg/apis/stats/v1alpha1"

	"github.com/minikubelet/minikubelet/cgroups"
	"github.com/minikubelet/minikubelet/network"
)

// Summary is what the kubelet answers at /stats/summary. With cpuMemoryOnly the
// parts that ask the disk and the network are left out. Rates need two readings:
// the first request after a while takes a second.
func (r *Reader) Summary(ctx context.Context, cpuMemoryOnly bool) (*summary.Summary, error) {
	before, now, err := r.samples.pair(ctx)
	if err != nil {
		return nil, err
	}
	m := moment{r: r, before: before, now: now}
	if !cpuMemoryOnly {
		m.sizes = r.disk.get(ctx)
		m.nodeFS, m.imageFS, m.logFS = fileSystem(r.cfg.DataDir), fileSystem(r.cfg.ImageDir), fileSystem(r.cfg.LogDir)
		if r.cfg.Network != nil {
			if m.traffic, err = r.cfg.Network.Traffic(); err != nil {
				r.cfg.Log.Warn("the statistics lack the network", "err", err)
			}
		}
	}
	out := &summary.Summary{Node: m.node(!cpuMemoryOnly), Pods: []summary.PodStats{}}
	for _, p := range now.pods {
		out.Pods = append(out.Pods, m.pod(p, !cpuMemoryOnly))
	}
	return out, nil
}

// moment is what one summary is made of.
type moment struct {
	r                      *Reader
	before, now            *sample
	sizes                  sizes
	traffic                network.Traffic
	nodeFS, imageFS, logFS *summary.FsStats
}

func (m *moment) node(all bool) summary.NodeStats {
	n := m.now.node
	s := summary.NodeStats{
		NodeName: m.r.cfg.NodeName, StartTime: metav1.NewTime(n.BootedAt),
		CPU: m.cpu("/", n.CPUMemory, n.BootedAt, n.CPUPressure), Memory: memory(n.CPUMemory, n.MemoryTotal, n.MemoryPressure), Swap: swap(n),
	}
	if root, err := m.r.cfg.Cgroups.CPUMemory(m.r.cfg.Cgroups.Root()); err == nil {
		s.SystemContainers = append(s.SystemContainers, summary.ContainerStats{
			Name: summary.SystemContainerPods, StartTime: s.StartTime,
			CPU: m.cpu("", root, n.BootedAt, nil), Memory: memory(root, 0, nil),
		})
	}
	s.SystemContainers = append(s.SystemContainers, self(m.r.began, m.now.at))
	if !all {
		return s
	}
	s.IO = io(m.now.at, n.IOPressure)
	s.Network, s.Fs = m.nodeNetwork(), m.nodeFS
	s.Runtime = &summary.RuntimeStats{ImageFs: within(m.imageFS, m.sizes.images), ContainerFs: m.imageFS}
	tasks, most := int64(n.Tasks), int64(n.TasksMax)
	s.Rlimit = &summary.RlimitStats{Time: metav1.NewTime(m.now.at), MaxPID: &most, NumOfRunningProcesses: &tasks}
	return s
}

func (m *moment) pod(p podSample, all bool) summary.PodStats {
	began := p.sandbox.CreatedAt
	s := summary.PodStats{
		PodRef: summary.PodReference{Name: p.Name, Namespace: p.Namespace, UID: p.UID}, StartTime: metav1.NewTime(began),
		Containers: []summary.ContainerStats{},
	}
	usage, err := m.r.cfg.Cgroups.Usage(p.cgroup)
	if err != nil { // it has ended since
		usage = cgroups.Usage{CPUMemory: p.CPUMemory}
	}
	usage.CPUMemory = p.CPUMemory
	s.CPU, s.Memory = m.cpu(p.cgroup, usage.CPUMemory, began, usage.CPUPressure), memory(usage.CPUMemory, usage.MemoryLimit, usage.MemoryPressure)
	s.Swap = &summary.SwapStats{Time: metav1.NewTime(usage.At), SwapUsageBytes: &usage.Swap}
	var processes, disk uint64
	for _, c := range p.containers {
		cs, running := m.container(p, c, all, &disk)
		processes += running
		s.Containers = append(s.Containers, cs)
	}
	if !all {
		return s
	}
	s.IO = io(usage.At, usage.IOPressure)
	s.ProcessStats = &summary.ProcessStats{ProcessCount: &processes}
	if c, ok := m.traffic.Pods[p.UID]; ok {
		s.Network = &summary.NetworkStats{Time: metav1.NewTime(m.now.at), InterfaceStats: interfaceStats(c), Interfaces: []summary.InterfaceStats{interfaceStats(c)}}
	}
	for name, used := range m.sizes.volumes[p.UID] {
		disk += used.bytes
		s.VolumeStats = append(s.VolumeStats, summary.VolumeStats{Name: name, FsStats: *within(m.nodeFS, used)})
	}
	s.EphemeralStorage = within(m.nodeFS, size{at: m.now.at, bytes: disk})
	return s
}

// container tells of one that runs, adds what it takes of the disk, and returns
// how many processes it has.
func (m *moment) container(p podSample, c containerSample, all bool, disk *uint64) (summary.ContainerStats, uint64) {
	usage, err := m.r.cfg.Cgroups.Usage(c.CgroupsPath)
	if err != nil {
		usage = cgroups.Usage{}
	}
	usage.CPUMemory = c.CPUMemory
	s := summary.ContainerStats{
		Name: c.Name, StartTime: metav1.NewTime(c.StartedAt),
		CPU:    m.cpu(c.CgroupsPath, usage.CPUMemory, c.StartedAt, usage.CPUPressure),
		Memory: memory(usage.CPUMemory, usage.MemoryLimit, usage.MemoryPressure),
		Swap:   &summary.SwapStats{Time: metav1.NewTime(usage.At), SwapUsageBytes: &usage.Swap},
	}
	if !all {
		return s, usage.Processes
	}
	s.IO = io(usage.At, usage.IOPressure)
	if layer, ok := m.sizes.layers[c.ID]; ok {
		s.Rootfs = within(m.imageFS, layer)
		*disk += layer.bytes
	}
	if logs, ok := m.r.logSize(p.pod, c.Name); ok {
		s.Logs = within(m.logFS, logs)
		*disk += logs.bytes
	}
	return s, usage.Processes
}

func (m *moment) cpu(cgroup string, u cgroups.CPUMemory, began time.Time, pressure *cgroups.Pressure) *summary.CPUStats {
	s := &summary.CPUStats{Time: metav1.NewTime(u.At), UsageCoreNanoSeconds: &u.CPUNanos, PSI: psi(pressure)}
	if rate, _, ok := nanoCores(m.before, m.now, cgroup, began); ok {
		s.UsageNanoCores = &rate
	}
	return s
}

func memory(u cgroups.CPUMemory, limit uint64, pressure *cgroups.Pressure) *summary.MemoryStats {
	s := &summary.MemoryStats{
		Time: metav1.NewTime(u.At), UsageBytes: &u.Usage, WorkingSetBytes: &u.WorkingSet, RSSBytes: &u.RSS,
		PageFaults: &u.Faults, MajorPageFaults: &u.MajorFaults, PSI: psi(pressure),
	}
	if limit > 0 {
		available := limit - min(u.WorkingSet, limit)
		s.AvailableBytes = &available
	}
	return s
}

func swap(n cgroups.NodeUsage) *summary.SwapStats {
	available := n.SwapTotal - min(n.Swap, n.SwapTotal)
	return &summary.SwapStats{Time: metav1.NewTime(n.At), SwapAvailableBytes: &available, SwapUsageBytes: &n.Swap}
}

func io(at time.Time, pressure *cgroups.Pressure) *summary.IOStats {
	if pressure == nil {
		return nil
	}
	return &summary.IOStats{Time: metav1.NewTime(at), PSI: psi(pressure)}
}

func psi(p *cgroups.Pressure) *summary.PSIStats {
	if p == nil {
		return nil
	}
	data := func(s cgroups.Stall) summary.PSIData {
		return summary.PSIData{Total: s.TotalNanos, Avg10: s.Avg10, Avg60: s.Avg60, Avg300: s.Avg300}
	}
	return &summary.PSIStats{Full: data(p.Full), Some: data(p.Some)}
}

func (m *moment) nodeNetwork() *summary.NetworkStats {
	if len(m.traffic.Host) == 0 {
		return nil
	}
	s := &summary.NetworkStats{Time: metav1.NewTime(m.now.at)}
	for _, c := range m.traffic.Host {
		s.Interfaces = append(s.Interfaces, interfaceStats(c))
		if c.Name == m.traffic.Default {
			s.InterfaceStats = interfaceStats(c)
		}
	}
	return s
}

func interfaceStats(c network.Counters) summary.InterfaceStats {
	return summary.InterfaceStats{Name: c.Name, RxBytes: &c.RxBytes, RxErrors: &c.RxErrors, TxBytes: &c.TxBytes, TxErrors: &c.TxErrors}
}
