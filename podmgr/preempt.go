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

// The kubelet's words for a Pod that makes place for a critical one.
const (
	preemptMessage    = "Preempted in order to admit critical pod"
	preemptDisruption = "Pod was preempted by Kubelet to accommodate a critical pod."
)

// preempt ends Pods so that a critical one has the place that it misses, and waits
// for them, but not for ever.
func (m *Manager) preempt(ctx context.Context, pod *corev1.Pod, missing []pressure.Shortage) error {
	victims, err := pressure.Victims(pod, m.candidates(), missing)
	if err != nil {
		return err
	}
	for _, v := range victims {
		m.cfg.Log.Warn("pre-empting a Pod for a critical one", "pod", v.Pod.Namespace+"/"+v.Pod.Name, "for", pod.Namespace+"/"+pod.Name)
		m.events.record(v.Pod, "", corev1.EventTypeWarning, reasonPreempt, preemptMessage)
		grace := graceOf(v.Pod, nil)
		over, err := m.end(v.Pod, plan.End{Reason: reasonPreempt, Message: preemptMessage, Disruption: preemptDisruption, At: time.Now(), Grace: grace})
		if err != nil {
			return fmt.Errorf("preemption: %w", err)
		}
		m.awaitOver(ctx, []<-chan struct{}{over}, max(grace+grace/2, 10*time.Second))
	}
	return ctx.Err()
}
