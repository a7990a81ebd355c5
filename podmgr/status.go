// SPDX-License-Identifier: Apache-2.0

package podmgr

import (
	"log/slog"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"github.com/minikubelet/minikubelet/podmgr/plan"
	"github.com/minikubelet/minikubelet/store"
)

// statusRetry is after how long a status that could not be written is tried again.
const statusRetry = 5 * time.Second

// statusWriter brings a Pod's newest status into the store, off the worker's
// path: a write waits for the disk, and the next container's start need not.
// Statuses that are overtaken before they are written are skipped.
type statusWriter struct {
	write func(*corev1.PodStatus) error
	log   *slog.Logger

	mu   sync.Mutex
	next *corev1.PodStatus
	kick chan struct{}
	quit chan struct{}
	once sync.Once
	done chan struct{}
}

func newStatusWriter(s *store.Store, pod *corev1.Pod, log *slog.Logger) *statusWriter {
	namespace, name, uid := pod.Namespace, pod.Name, pod.UID
	sw := &statusWriter{
		write: func(status *corev1.PodStatus) error { return writeStatus(s, namespace, name, uid, status) },
		log:   log,
		kick:  make(chan struct{}, 1), quit: make(chan struct{}), done: make(chan struct{}),
	}
	go sw.run()
	return sw
}

// set replaces the status that is to be written. It never blocks and keeps no
// reference to the caller's memory.
func (sw *statusWriter) set(status corev1.PodStatus) {
	sw.mu.Lock()
	sw.next = status.DeepCopy()
	sw.mu.Unlock()
	select {
	case sw.kick <- struct{}{}:
	default:
	}
}

// stop writes what is left and ends the writer. It may be called more than once.
func (sw *statusWriter) stop() {
	sw.once.Do(func() { close(sw.quit) })
	<-sw.done
}

func (sw *statusWriter) run() {
	defer close(sw.done)
	var again <-chan time.Time
	for {
		select {
		case <-sw.kick:
		case <-again:
		case <-sw.quit:
			sw.flush()
			return
		}
		again = nil
		if !sw.flush() {
			again = time.After(statusRetry)
		}
	}
}

// flush writes the newest status and tells whether none is left. A full disk or a
// damaged file is logged: Pods go on running.
func (sw *statusWriter) flush() bool {
	for range 3 {
		sw.mu.Lock()
		status := sw.next
		sw.next = nil
		sw.mu.Unlock()
		if status == nil {
			return true
		}
		err := sw.write(status)
		if err == nil || apierrors.IsNotFound(err) {
			return true
		}
		sw.mu.Lock()
		if sw.next == nil {
			sw.next = status
		}
		sw.mu.Unlock()
		if !apierrors.IsConflict(err) {
			sw.log.Warn("cannot store the Pod's status", "err", err)
			time.Sleep(50 * time.Millisecond)
		}
	}
	return false
}

func writeStatus(s *store.Store, namespace, name string, uid types.UID, status *corev1.PodStatus) error {
	var pod corev1.Pod
	if err := s.Get(Pods, namespace, name, &pod); err != nil {
		return err
	}
	if pod.UID != uid {
		return nil // a new Pod of the same name
	}
	pod.Status = withForeignConditions(*status, &pod.Status)
	return s.Update(Pods, &pod)
}

// foreignConditions are those that others set, through pods/status: readiness gates
// for instance.
func foreignConditions(s *corev1.PodStatus) []corev1.PodCondition {
	var all []corev1.PodCondition
	for _, c := range s.Conditions {
		if !plan.OwnsCondition(c) {
			all = append(all, c)
		}
	}
	return all
}

// withForeignConditions is a status of ours with the conditions of others as they
// stand in the store: theirs are never written back from memory.
func withForeignConditions(own corev1.PodStatus, stored *corev1.PodStatus) corev1.PodStatus {
	all := foreignConditions(stored)
	for _, c := range own.Conditions {
		if plan.OwnsCondition(c) {
			all = append(slices.DeleteFunc(all, func(o corev1.PodCondition) bool { return o.Type == c.Type }), c)
		}
	}
	own.Conditions = all
	return own
}
