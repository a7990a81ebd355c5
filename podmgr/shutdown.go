// SPDX-License-Identifier: Apache-2.0

package podmgr

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/minikubelet/minikubelet/podmgr/plan"
	"github.com/minikubelet/minikubelet/podmgr/pressure"
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
