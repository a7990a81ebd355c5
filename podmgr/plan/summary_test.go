// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestSummary has the words that no story shows.
func TestSummary(t *testing.T) {
	waiting := func(reason string) corev1.ContainerState {
		return corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason}}
	}
	ended := func(code, signal int32, reason string) corev1.ContainerState {
		return corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: code, Signal: signal, Reason: reason}}
	}
	running := corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}
	initialized := []corev1.PodCondition{{Type: corev1.PodInitialized, Status: corev1.ConditionTrue}}
	for _, c := range []struct {
		name       string
		init, app  []corev1.ContainerState
		phase      corev1.PodPhase
		reason     string
		conditions []corev1.PodCondition
		deleted    bool
		want       string
		ready      int
	}{
		{name: "nothing reported yet", phase: corev1.PodPending, want: "Pending"},
		{name: "a failed init container without a reason", phase: corev1.PodPending,
			init: []corev1.ContainerState{ended(3, 0, "")}, want: "Init:ExitCode:3"},
		{name: "killed by a signal", phase: corev1.PodPending,
			init: []corev1.ContainerState{ended(137, 9, "")}, want: "Init:Signal:9"},
		{name: "the second of two waits for its image", phase: corev1.PodPending,
			init: []corev1.ContainerState{ended(0, 0, "Completed"), waiting("ErrImagePull")}, want: "Init:ErrImagePull"},
		{name: "initialising", phase: corev1.PodPending,
			init: []corev1.ContainerState{ended(0, 0, "Completed"), running}, app: []corev1.ContainerState{waiting("PodInitializing")}, want: "Init:1/2"},
		{name: "initialised", phase: corev1.PodPending, conditions: initialized,
			init: []corev1.ContainerState{ended(0, 0, "Completed")}, app: []corev1.ContainerState{waiting("PodInitializing")}, want: "PodInitializing"},
		{name: "an app without a reason", phase: corev1.PodFailed, app: []corev1.ContainerState{ended(2, 0, "")}, want: "ExitCode:2"},
		{name: "an app killed", phase: corev1.PodFailed, app: []corev1.ContainerState{ended(137, 9, "")}, want: "Signal:9"},
		{name: "one completed, one runs, not ready", phase: corev1.PodRunning,
			app: []corev1.ContainerState{ended(0, 0, "Completed"), running}, want: "NotReady", ready: 1},
		{name: "the Pod's reason counts while no container has one", phase: corev1.PodFailed, reason: "Evicted", want: "Evicted"},
		{name: "deleted", phase: corev1.PodRunning, deleted: true, app: []corev1.ContainerState{running}, want: "Terminating", ready: 1},
		{name: "deleted after its end", phase: corev1.PodSucceeded, deleted: true, app: []corev1.ContainerState{ended(0, 0, "Completed")}, want: "Completed"},
		{name: "deleted on a lost node", phase: corev1.PodRunning, deleted: true, reason: nodeLost, app: []corev1.ContainerState{running}, want: "Unknown", ready: 1},
		{name: "not let in by the scheduler", phase: corev1.PodPending, want: "SchedulingGated",
			conditions: []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonSchedulingGated}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			pod := &corev1.Pod{Status: corev1.PodStatus{Phase: c.phase, Reason: c.reason, Conditions: c.conditions}}
			if c.deleted {
				pod.DeletionTimestamp = &metav1.Time{Time: epoch}
			}
			for i, s := range c.init {
				name := string(rune('i' + i))
				pod.Spec.InitContainers = append(pod.Spec.InitContainers, corev1.Container{Name: name})
				pod.Status.InitContainerStatuses = append(pod.Status.InitContainerStatuses, corev1.ContainerStatus{Name: name, State: s})
			}
			for i, s := range c.app {
				name := string(rune('a' + i))
				pod.Spec.Containers = append(pod.Spec.Containers, corev1.Container{Name: name})
				pod.Status.ContainerStatuses = append(pod.Status.ContainerStatuses,
					corev1.ContainerStatus{Name: name, State: s, Ready: s.Running != nil, RestartCount: 1})
			}
			word, ready, total, _ := Summary(pod)
			if word != c.want || ready != c.ready || total != len(c.app) {
				t.Errorf("got %s %d/%d, want %s %d/%d", word, ready, total, c.want, c.ready, len(c.app))
			}
		})
	}
}
