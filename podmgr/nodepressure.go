// SPDX-License-Identifier: Apache-2.0

package podmgr

import (
	"context"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"

	"github.com/minikubelet/minikubelet/cgroups"
	"github.com/minikubelet/minikubelet/podmgr/plan"
	"github.com/minikubelet/minikubelet/podmgr/pressure"
)

// lookEvery is how often the node is looked at, as in the kubelet; a look reads a
// few small files. cleanUpBound is how long the next one waits for an evicted Pod.
const (
	lookEvery    = 10 * time.Second
	cleanUpBound = 30 * time.Second
)

// Pressure says when the node is short of something, and what to do then.
type Pressure struct {
	Thresholds []pressure.Threshold
	// Transition is how long a condition of the node stays after it was last seen.
	Transition time.Duration
	// MaxGrace is how long a Pod has at most that is evicted for a soft threshold.
	MaxGrace time.Duration
	// PodMemory is how many bytes of memory are not reserved for the machine.
	PodMemory int64
	// NodeDir and ImageDir are on the file systems of the signals nodefs and imagefs.
	NodeDir, ImageDir string
	// ReclaimImages frees what images take that nobody uses; nil: nothing.
	ReclaimImages func(ctx context.Context) error
	// Changed is called when the node's conditions have changed; see Conditions.
	Changed func()
}

// watchPressure looks at the node until ctx ends.
func (m *Manager) watchPressure(ctx context.Context) {
	var state pressure.State
	stalls := cgroups.MemoryStalls(ctx, m.cfg.Log)
	tick := time.NewTimer(0)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-stalls:
		case <-tick.C:
		}
		evicted := m.lookAtNode(ctx, &state)
		m.awaitOver(ctx, evicted, cleanUpBound)
		tick.Reset(lookEvery)
		if len(evicted) > 0 {
			tick.Reset(0)
		}
	}
}

func (m *Manager) awaitOver(ctx context.Context, overs []<-chan struct{}, bound time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, bound)
	defer cancel()
	for _, over := range overs {
		select {
		case <-over:
		case <-ctx.Done():
			return
		}
	}
}

// lookAtNode decides and acts once. It returns the ends of the Pods that it evicts.
func (m *Manager) lookAtNode(ctx context.Context, state *pressure.State) []<-chan struct{} {
	cfg := &m.cfg.Pressure
	seen := m.observe()
	verdict := state.Look(cfg.Thresholds, seen, time.Now(), cfg.Transition)
	m.setConditions(verdict.Conditions)
	if evicted := m.evictForStorage(ctx); len(evicted) > 0 {
		return evicted
	}
	if verdict.Reclaim == nil {
		return nil
	}
	signal := verdict.Reclaim.Signal
	m.cfg.Log.Warn("the node is short of something", "signal", signal, "left", seen[signal].Available, "of", seen[signal].Capacity)
	m.NodeEvent(corev1.EventTypeWarning, "EvictionThresholdMet", fmt.Sprintf("Attempting to reclaim %s", signal.Resource()))
	if signal.Condition() == corev1.NodeDiskPressure {
		m.reclaimRecords(ctx)
		if cfg.ReclaimImages != nil {
			if err := cfg.ReclaimImages(ctx); err != nil {
				m.cfg.Log.Warn("cannot free the space of unused images", "err", err)
			}
		}
		if pressure.Enough(cfg.Thresholds, m.observe()) {
			return nil
		}
	}
	return m.evictOne(ctx, verdict, seen)
}

// evictOne ends the Pod that is the first to go.
func (m *Manager) evictOne(ctx context.Context, verdict pressure.Verdict, seen map[pressure.Signal]pressure.Observation) []<-chan struct{} {
	signal := verdict.Reclaim.Signal
	pods := m.candidates()
	for i := range pods {
		pods[i].Usage = m.usageOf(ctx, pods[i].Pod, signal)
	}
	pressure.Rank(signal, pods)
	for i := range pods {
		if pressure.Critical(pods[i].Pod) {
			continue
		}
		message := pressure.Message(verdict, &pods[i], seen)
		if over := m.evict(pods[i].Pod, message, message, pressure.EvictionGrace(verdict.Reclaim, pods[i].Pod, m.cfg.Pressure.MaxGrace)); over != nil {
			return []<-chan struct{}{over}
		}
	}
	m.cfg.Log.Warn("there is no Pod to evict", "signal", signal)
	return nil
}

// evict ends a Pod; nil if that could not be stored.
func (m *Manager) evict(pod *corev1.Pod, message, disruption string, grace time.Duration) <-chan struct{} {
	over, err := m.end(pod, plan.End{Reason: reasonEvicted, Message: message, Disruption: disruption, At: time.Now(), Grace: grace})
	if err != nil {
		m.cfg.Log.Error("cannot evict a Pod", "pod", pod.Namespace+"/"+pod.Name, "err", err)
		return nil
	}
	m.cfg.Log.Warn("evicting a Pod", "pod", pod.Namespace+"/"+pod.Name, "why", message)
	m.events.record(pod, "", corev1.EventTypeWarning, reasonEvicted, message)
	return over
}

// candidates are the Pods that something can be taken from.
func (m *Manager) candidates() []pressure.Candidate {
	var out []pressure.Candidate
	for _, pod := range m.active() {
		out = append(out, pressure.Candidate{Pod: pod, Class: cgroups.QOSClass(pod), Requests: cgroups.EffectiveOf(pod).Requests})
	}
	slices.SortFunc(out, func(a, b pressure.Candidate) int { // the youngest first, where nothing else decides
		return b.Pod.CreationTimestamp.Compare(a.Pod.CreationTimestamp.Time)
	})
	return out
}

// observe measures what the thresholds are about.
func (m *Manager) observe() map[pressure.Signal]pressure.Observation {
	seen := make(map[pressure.Signal]pressure.Observation)
	if len(m.cfg.Pressure.Thresholds) == 0 {
		return seen
	}
	node := m.cfg.Cgroups.NodeUsage()
	total := int64(node.MemoryTotal)
	seen[pressure.Memory] = pressure.Observation{Available: total - int64(min(node.WorkingSet, node.MemoryTotal)), Capacity: total}
	if pods, err := m.cfg.Cgroups.CPUMemory(m.cfg.Cgroups.Root()); err == nil {
		seen[pressure.PodMemory] = pressure.Observation{Available: m.cfg.Pressure.PodMemory - int64(pods.WorkingSet), Capacity: m.cfg.Pressure.PodMemory}
	}
	if node.TasksMax > 0 {
		seen[pressure.PIDs] = pressure.Observation{Available: int64(node.TasksMax) - int64(node.Tasks), Capacity: int64(node.TasksMax)}
	}
	m.observeFS(seen, m.cfg.Pressure.NodeDir, pressure.NodeFS, pressure.NodeInodes)
	m.observeFS(seen, m.cfg.Pressure.ImageDir, pressure.ImageFS, pressure.ImageInodes)
	return seen
}

func (m *Manager) observeFS(seen map[pressure.Signal]pressure.Observation, dir string, space, inodes pressure.Signal) {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		m.cfg.Log.Warn("cannot measure a file system", "dir", dir, "err", err)
		return
	}
	seen[space] = pressure.Observation{Available: int64(fs.Bavail) * fs.Bsize, Capacity: int64(fs.Blocks) * fs.Bsize}
	if fs.Files > 0 { // btrfs counts none
		seen[inodes] = pressure.Observation{Available: int64(fs.Ffree), Capacity: int64(fs.Files)}
	}
}

// Conditions are those of pressure that the node has now, sorted; not known before the
// node was looked at for the first time.
func (m *Manager) Conditions() (now []corev1.NodeConditionType, known bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.conditions), m.looked
}

// conditionEvents are the kubelet's words for a condition that comes or goes.
func conditionEvent(c corev1.NodeConditionType, there bool) string {
	switch {
	case c == corev1.NodeMemoryPressure && there:
		return "NodeHasInsufficientMemory"
	case c == corev1.NodeMemoryPressure:
		return "NodeHasSufficientMemory"
	case c == corev1.NodePIDPressure && there:
		return "NodeHasInsufficientPID"
	case c == corev1.NodePIDPressure:
		return "NodeHasSufficientPID"
	case there:
		return "NodeHasDiskPressure"
	}
	return "NodeHasNoDiskPressure"
}

func (m *Manager) setConditions(now []corev1.NodeConditionType) {
	m.mu.Lock()
	before, known := m.conditions, m.looked
	m.conditions, m.looked = now, true
	m.mu.Unlock()
	if known && slices.Equal(before, now) {
		return
	}
	for _, c := range []corev1.NodeConditionType{corev1.NodeMemoryPressure, corev1.NodeDiskPressure, corev1.NodePIDPressure} {
		if there := slices.Contains(now, c); there != slices.Contains(before, c) {
			reason := conditionEvent(c, there)
			m.NodeEvent(corev1.EventTypeNormal, reason, fmt.Sprintf("Node %s status is now: %s", m.cfg.NodeName, reason))
		}
	}
	if m.cfg.Pressure.Changed != nil {
		m.cfg.Pressure.Changed()
	}
}
