// SPDX-License-Identifier: Apache-2.0

package podmgr

import (
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/minikubelet/minikubelet/podmgr/plan"
)

// Step is something that the manager did for a Pod, for whoever measures.
type Step struct {
	// Pod must not be changed.
	Pod *corev1.Pod
	// Name is that of an action of plan, like "create container", or one of the
	// parts of "create sandbox".
	Name string
	// Container and Attempt are set for actions on one.
	Container string
	Attempt   int
	Began     time.Time
	Took      time.Duration
	Err       error
	// Canceled says that the step was given up; it has neither succeeded nor failed.
	Canceled bool
}

// The parts of making a sandbox. The last three run beside the making of the Pod's
// first containers.
const (
	StepCgroup      = "sandbox cgroup"
	StepVolumes     = "sandbox volumes"
	StepNamespaces  = "sandbox namespaces"
	StepNetwork     = "sandbox network"
	StepCreatePause = "sandbox create pause"
	StepStartPause  = "sandbox start pause"
)

// step tells of an action that has ended.
func (w *worker) step(action plan.Action, err error, canceled bool, took time.Duration) {
	if w.m.cfg.OnStep == nil {
		return
	}
	w.mu.Lock()
	pod := w.pod
	w.mu.Unlock()
	w.m.cfg.OnStep(Step{
		Pod: pod, Name: string(action.Kind), Container: action.Container, Attempt: action.Attempt,
		Began: time.Now().Add(-took), Took: took, Err: err, Canceled: canceled,
	})
}

// part does a part of an action and tells of it.
func (w *worker) part(pod *corev1.Pod, name string, do func() error) error {
	began := time.Now()
	err := do()
	if w.m.cfg.OnStep != nil {
		w.m.cfg.OnStep(Step{Pod: pod, Name: name, Began: began, Took: time.Since(began), Err: err})
	}
	return err
}

// Probed is a probe that was made.
type Probed struct {
	UID, Namespace, Pod, Container string
	// Kind is Startup, Readiness or Liveness.
	Kind string
	// Result is successful, failed or unknown.
	Result string
	Took   time.Duration
}
