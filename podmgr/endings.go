// SPDX-License-Identifier: Apache-2.0

package podmgr

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"github.com/minikubelet/minikubelet/podmgr/plan"
	"github.com/minikubelet/minikubelet/store"
)

// endings is the store's name of the Pods' ends that the node decided on. They are
// no objects of the API: each has the namespace, name and UID of its Pod, comes
// before anything is done to that and goes just before it.
const endings = "endings.minikubelet"

// Reasons of ends, as the kubelet has them in a Pod's status.
const (
	reasonShutdown = "Terminated"
	reasonEvicted  = "Evicted"
	reasonPreempt  = "Preempting"
)

// ending is an end at rest.
type ending struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	End               plan.End `json:"end"`
}

// DeepCopyObject is part of store.Object.
func (e *ending) DeepCopyObject() runtime.Object {
	c := *e
	e.ObjectMeta.DeepCopyInto(&c.ObjectMeta)
	return &c
}

func endingOf(pod *corev1.Pod, end plan.End) *ending {
	return &ending{
		TypeMeta:   metav1.TypeMeta{APIVersion: "minikubelet/v1", Kind: "Ending"},
		ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID},
		End:        end,
	}
}

// loadEndings finds the ends that an earlier agent decided on and removes those
// whose Pod is gone.
func (m *Manager) loadEndings(pods map[types.UID]*corev1.Pod) error {
	var lost []*ending
	_, err := m.cfg.Store.List(endings, "", func(data store.Data) error {
		e := new(ending)
		if err := data.Into(e); err != nil {
			return err
		}
		if pods[e.UID] == nil {
			lost = append(lost, e)
		} else {
			m.ends[e.UID] = &e.End
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, e := range lost {
		if err := m.cfg.Store.Delete(endings, e); err != nil && !apierrors.IsNotFound(err) {
			return err
		}
	}
	return nil
}

// end makes a Pod come to the given end, or to an earlier one's if there was one
// already. over is closed when it has: when its terminal phase is reported, or it
// is gone.
func (m *Manager) end(pod *corev1.Pod, e plan.End) (over <-chan struct{}, err error) {
	m.mu.Lock()
	w := m.workers[pod.UID]
	before := m.ends[pod.UID]
	m.mu.Unlock()
	if w == nil {
		gone := make(chan struct{})
		close(gone)
		return gone, nil
	}
	if before == nil {
		if err := putEnding(m.cfg.Store, endingOf(pod, e)); err != nil {
			return nil, fmt.Errorf("end pod %s/%s: %w", pod.Namespace, pod.Name, err)
		}
		m.mu.Lock()
		m.ends[pod.UID] = &e
		m.mu.Unlock()
		w.setEnded(&e)
	}
	return w.over, nil
}

// putEnding writes one in place of that of an earlier Pod of the same name.
func putEnding(s *store.Store, e *ending) error {
	err := s.Create(endings, e)
	if apierrors.IsAlreadyExists(err) {
		e.ResourceVersion = ""
		err = s.Update(endings, e)
	}
	return err
}

// forgetEnding removes a Pod's end: the Pod goes next.
func (m *Manager) forgetEnding(pod *corev1.Pod) error {
	m.mu.Lock()
	delete(m.ends, pod.UID)
	m.mu.Unlock()
	var e ending
	err := m.cfg.Store.Get(endings, pod.Namespace, pod.Name, &e)
	if err == nil && e.UID == pod.UID {
		err = m.cfg.Store.Delete(endings, &e)
	}
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

func (w *worker) setEnded(e *plan.End) {
	w.mu.Lock()
	w.ended = e
	w.mu.Unlock()
	w.wakeUp()
}

// EndedByShutdown says whether a Pod was ended, or not taken, because the node was
// shutting down.
func EndedByShutdown(s *store.Store, pod *corev1.Pod) bool {
	if r := pod.Status.Reason; r == reasonShutdown || r == reasonNodeShutdown {
		return true
	}
	var e ending
	err := s.Get(endings, pod.Namespace, pod.Name, &e)
	return err == nil && e.UID == pod.UID && e.End.Reason == reasonShutdown
}

// graceOf is how long a Pod has that the node ends: what the node gives, nil for
// the Pod's own period, and a second at least, as in the kubelet.
func graceOf(pod *corev1.Pod, seconds *int64) time.Duration {
	return plan.Seconds(max(gracePeriod(pod, seconds), 1))
}

// active are the Pods that have a worker and no terminal phase.
func (m *Manager) active() []*corev1.Pod {
	m.mu.Lock()
	defer m.mu.Unlock()
	var pods []*corev1.Pod
	for _, w := range m.workers {
		if !w.isOver() {
			w.mu.Lock()
			pods = append(pods, w.pod)
			w.mu.Unlock()
		}
	}
	return pods
}

func (w *worker) isOver() bool {
	select {
	case <-w.over:
		return true
	default:
		return false
	}
}
