// SPDX-License-Identifier: Apache-2.0

package podmgr

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/minikubelet/minikubelet/cgroups"
	"github.com/minikubelet/minikubelet/podmgr/pressure"
	"github.com/minikubelet/minikubelet/runtime"
)

// usageOf measures what a Pod uses of what a signal is about; nil when that cannot
// be told. Disks are walked, the rest is read from control groups.
func (m *Manager) usageOf(ctx context.Context, pod *corev1.Pod, signal pressure.Signal) *pressure.Usage {
	u := new(pressure.Usage)
	at := cgroups.PodPath(m.facts.CgroupRoot, string(pod.UID), cgroups.QOSClass(pod))
	switch signal.Condition() {
	case corev1.NodeDiskPressure:
		disk, err := m.diskUsage(ctx, pod)
		if err != nil {
			m.cfg.Log.Warn("cannot tell what a Pod has on disk", "pod", pod.Namespace+"/"+pod.Name, "err", err)
			return nil
		}
		u.Disk, u.Inodes, u.Containers = disk.total(), disk.inodes, disk.containers
	case corev1.NodePIDPressure:
		usage, err := m.cfg.Cgroups.Usage(at)
		if err != nil {
			return nil
		}
		u.Processes = int64(usage.Threads)
	default:
		usage, err := m.cfg.Cgroups.CPUMemory(at)
		if err != nil {
			return nil
		}
		u.Memory = int64(usage.WorkingSet)
		for _, s := range m.cfg.Runtime.Pod(string(pod.UID)) {
			if s.Kind == runtime.KindSandbox || s.State != runtime.StateRunning {
				continue
			}
			if c, err := m.cfg.Cgroups.CPUMemory(filepath.Join(at, s.ID)); err == nil {
				u.Containers = append(u.Containers, pressure.ContainerUsage{Name: s.Name, Memory: int64(c.WorkingSet)})
			}
		}
	}
	return u
}

// podDisk is what a Pod has on disk: its containers' writable layers, logs and
// termination messages, its volumes that count as its own, and its /etc/hosts, in bytes.
type podDisk struct {
	containers []pressure.ContainerUsage
	volumes    map[string]int64
	hosts      int64 // its /etc/hosts, to which containers may write
	inodes     int64 // of all of it
}

func (d *podDisk) total() int64 {
	sum := d.hosts
	for _, c := range d.containers {
		sum += c.Disk
	}
	for _, v := range d.volumes {
		sum += v
	}
	return sum
}

func (m *Manager) diskUsage(ctx context.Context, pod *corev1.Pod) (*podDisk, error) {
	volumes, err := m.cfg.Volumes.Usage(ctx, m.facts.volumesPod(pod))
	if err != nil {
		return nil, err
	}
	d := &podDisk{volumes: make(map[string]int64, len(volumes))}
	for i := range pod.Spec.Volumes { // what is in memory counts as memory
		if e := pod.Spec.Volumes[i].EmptyDir; e == nil || e.Medium != corev1.StorageMediumDefault {
			delete(volumes, pod.Spec.Volumes[i].Name)
		}
	}
	for name, u := range volumes {
		d.volumes[name] = u.Bytes
		d.inodes += u.Inodes
	}
	layers := make(map[string]int64)
	for _, s := range m.cfg.Runtime.Pod(string(pod.UID)) {
		if s.Kind == runtime.KindSandbox {
			continue
		}
		if bytes, inodes, err := m.cfg.Runtime.LayerUsage(ctx, s.ID); err == nil { // what was just removed takes nothing
			layers[s.Name] += bytes
			d.inodes += inodes
		}
	}
	dir := m.facts.podDir(pod)
	for c := range Containers(pod) {
		logs, logFiles := sizeOfFiles(filepath.Join(m.facts.logDir(pod), c.Name))
		messages, messageFiles := sizeOfFiles(filepath.Join(dir, "containers", c.Name))
		d.containers = append(d.containers, pressure.ContainerUsage{Name: c.Name, Disk: layers[c.Name] + logs + messages})
		d.inodes += logFiles + messageFiles
	}
	if info, err := os.Lstat(filepath.Join(dir, "etc-hosts")); err == nil {
		d.hosts = info.Size()
	}
	return d, ctx.Err()
}

// sizeOfFiles of a directory without what is below it, and how many there are.
func sizeOfFiles(dir string) (bytes, files int64) {
	_ = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error { // no directory, no logs
		if err != nil || path == dir {
			return err
		}
		if e.IsDir() {
			return fs.SkipDir
		}
		if info, err := e.Info(); err == nil {
			bytes += info.Size()
			files++
		}
		return nil
	})
	return bytes, files
}

// storagePace is how much longer than a walk over the Pods' files took the next one
// has to wait: a node whose Pods have many files does not spend its time counting.
const storagePace = 20

// evictForStorage evicts the Pods that have more on disk than their limits allow.
// Pods without such limits cost nothing.
func (m *Manager) evictForStorage(ctx context.Context) []<-chan struct{} {
	began := time.Now()
	if began.Before(m.nextStorage) {
		return nil
	}
	var evicted []<-chan struct{}
	for _, pod := range m.active() {
		if !pressure.LimitsStorage(pod) {
			continue
		}
		disk, err := m.diskUsage(ctx, pod)
		if err != nil {
			m.cfg.Log.Warn("cannot tell what a Pod has on disk; its limits are not enforced", "pod", pod.Namespace+"/"+pod.Name, "err", err)
			continue
		}
		limits := cgroups.EffectiveOf(pod).Limits
		if why := pressure.ExceedsStorage(pod, limits, disk.containers, disk.volumes, disk.hosts); why != "" {
			if over := m.evict(pod, why, "", time.Second); over != nil {
				evicted = append(evicted, over)
			}
		}
	}
	m.nextStorage = time.Now().Add(storagePace * time.Since(began))
	return evicted
}
