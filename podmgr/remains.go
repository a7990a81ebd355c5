// SPDX-License-Identifier: Apache-2.0

package podmgr

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/utils/ptr"

	"github.com/minikubelet/minikubelet/podmgr/pressure"
)

// Ended says how many Pods are kept whose phase is terminal.
type Ended struct {
	// Max is how many; 0: all.
	Max int
	// Others says of a Pod that somebody else removes it, so that it does not count; nil:
	// of none.
	Others func(*corev1.Pod) bool
}

// collectEnded deletes ended Pods that are too many until ctx ends.
func (m *Manager) collectEnded(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-m.someEnded:
		}
		for _, pod := range pressure.Surplus(m.ended(), m.cfg.Ended.Max) {
			if err := m.deleteEnded(pod); err != nil {
				m.cfg.Log.Warn("cannot delete an ended Pod; the next one that ends has it tried again", "pod", pod.Namespace+"/"+pod.Name, "err", err)
			}
		}
	}
}

// ended are the Pods that count as ended, as the store has them.
func (m *Manager) ended() []*corev1.Pod {
	var pods []*corev1.Pod
	m.eachWorker(func(w *worker) {
		w.mu.Lock()
		pod := w.desired
		w.mu.Unlock()
		if isTerminal(pod) && (m.cfg.Ended.Others == nil || !m.cfg.Ended.Others(pod)) {
			pods = append(pods, pod)
		}
	})
	return pods
}

// noteEnd has the ended Pods counted if this is one.
func (m *Manager) noteEnd(pod *corev1.Pod) {
	if m.cfg.Ended.Max == 0 || !isTerminal(pod) {
		return
	}
	select {
	case m.someEnded <- struct{}{}:
	default:
	}
}

// deleteEnded asks for the end of this very Pod, not of a new one of its name.
func (m *Manager) deleteEnded(pod *corev1.Pod) error {
	for {
		var now corev1.Pod
		err := m.cfg.Store.Get(Pods, pod.Namespace, pod.Name, &now)
		if apierrors.IsNotFound(err) || err == nil && (now.UID != pod.UID || !AskToEnd(&now, ptr.To[int64](0))) {
			return nil
		}
		if err == nil {
			err = m.cfg.Store.Update(Pods, &now)
		}
		if err == nil {
			m.cfg.Log.Info("deleting an ended Pod: there are too many", "pod", pod.Namespace+"/"+pod.Name, "phase", pod.Status.Phase, "kept", m.cfg.Ended.Max)
		}
		if !apierrors.IsConflict(err) {
			return err
		}
	}
}

// reclaimRecords removes what ended Pods have on disk, and waits for that a bounded
// time.
func (m *Manager) reclaimRecords(ctx context.Context) {
	var over []*worker
	m.eachWorker(func(w *worker) {
		if w.isOver() {
			over = append(over, w)
		}
	})
	ctx, cancel := context.WithTimeout(ctx, cleanUpBound)
	defer cancel()
	for _, w := range over {
		w.mu.Lock()
		w.reclaim = true
		w.mu.Unlock()
		w.wakeUp()
	}
	for _, w := range over {
		w.awaitNoRecords(ctx)
	}
}

func (w *worker) awaitNoRecords(ctx context.Context) {
	for {
		change := w.change()
		if len(w.m.cfg.Runtime.Pod(w.uid)) == 0 {
			return
		}
		select {
		case <-change:
		case <-ctx.Done():
			return
		}
	}
}

func isTerminal(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}
