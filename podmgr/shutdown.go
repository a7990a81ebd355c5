// SPDX-License-Identifier: Apache-2.0

package podmgr

import (
	"context"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/minikubelet/minikubelet/podmgr/plan"
	"github.com/minikubelet/minikubelet/podmgr/pressure"
	"github.com/minikubelet/minikubelet/runtime"
)

// The kubelet's words for the node's shutdown.
const (
	reasonNodeShutdown  = "NodeShutdown"
	nodeShutdownMessage = "Pod was rejected as the node is shutting down."
	shutdownMessage     = "Pod was terminated in response to imminent node shutdown."
)

// ShutDown ends all Pods, class after class from the lowest priority on, each class
// within its time: who takes longer is left behind, and the next class follows. New
// Pods are refused from now on. It returns when the last class is done or ctx ends.
// Run must be under way.
func (m *Manager) ShutDown(ctx context.Context, classes []pressure.ShutdownClass) error {
	m.setClosing(true)
	for _, group := range pressure.ShutdownGroups(classes, m.active()) {
		if err := m.endGroup(ctx, group); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return nil
}

// Reopen takes new Pods again: the shutdown was called off. Pods that were ended
// stay so.
func (m *Manager) Reopen() { m.setClosing(false) }

func (m *Manager) setClosing(closing bool) {
	m.mu.Lock()
	m.closing = closing
	m.mu.Unlock()
}

// endGroup ends the Pods of one class at the same time.
func (m *Manager) endGroup(ctx context.Context, group pressure.ShutdownGroup) error {
	m.cfg.Log.Info("ending Pods for the node's shutdown", "priority", group.Priority, "pods", len(group.Pods), "within", group.Grace)
	ctx, cancel := context.WithTimeout(ctx, max(group.Grace, time.Second))
	defer cancel()
	left := make(map[*corev1.Pod]<-chan struct{}, len(group.Pods))
	for _, pod := range group.Pods {
		over, err := m.end(pod, plan.End{
			Reason: reasonShutdown, Message: shutdownMessage, Disruption: shutdownMessage,
			At: time.Now(), Grace: max(group.GraceOf(pod), time.Second), KeepSuccess: true,
		})
		if err != nil {
			return fmt.Errorf("shut down: %w", err)
		}
		left[pod] = over
	}
	for pod, over := range left {
		select {
		case <-over:
		case <-ctx.Done():
			m.cfg.Log.Warn("a Pod has not ended in its class's time", "pod", pod.Namespace+"/"+pod.Name, "priority", group.Priority, "time", group.Grace)
		}
	}
	return nil
}

// killBound is how long processes may take to go after SIGKILL.
const killBound = 5 * time.Second

// EndWithMachine ends what runs of these Pods before the machine's shutdown does,
// which takes no account of their grace periods and ends them when their volumes are
// unmounted already. Each gets its stop signals and its own grace period, but not more
// than atMost. There are no preStop hooks, and nothing is put on record: for the next
// boot these containers have ended with the machine. It is for the time after Run, and
// the runtime may be closed.
func (m *Manager) EndWithMachine(pods []*corev1.Pod, atMost time.Duration) {
	var ending sync.WaitGroup
	for _, pod := range pods {
		ending.Go(func() {
			grace := min(graceOf(pod, pod.DeletionGracePeriodSeconds), atMost)
			if err := m.endWithMachine(string(pod.UID), grace); err != nil {
				m.cfg.Log.Warn("a Pod does not end with the machine", "pod", pod.Namespace+"/"+pod.Name, "err", err)
			}
		})
	}
	ending.Wait()
}

func (m *Manager) endWithMachine(uid string, grace time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	var ending sync.WaitGroup
	for _, s := range m.cfg.Runtime.Pod(uid) {
		if s.State == runtime.StateRunning && s.Kind != runtime.KindSandbox {
			ending.Go(func() {
				if err := m.cfg.Cgroups.EndContainer(ctx, s.CgroupsPath, s.PID, parseSignal(s.StopSignal)); err != nil {
					m.cfg.Log.Info("a container is killed, for the machine goes down", "container", s.Name, "because", err)
				}
			})
		}
	}
	ending.Wait()
	ctx, cancel = context.WithTimeout(context.Background(), killBound)
	defer cancel()
	return m.cfg.Cgroups.KillPod(ctx, uid)
}
