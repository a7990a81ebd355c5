// SPDX-License-Identifier: Apache-2.0

package stats

import (
	"errors"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/minikubelet/minikubelet/podmgr"
	"github.com/minikubelet/minikubelet/podmgr/plan"
)

func TestCoveredCountsNothingTwice(t *testing.T) {
	at := func(s int) time.Time { return time.Unix(int64(1000+s), 0) }
	for _, c := range []struct {
		intervals []interval
		want      time.Duration
	}{
		{nil, 0},
		{[]interval{{at(2), at(4)}, {at(3), at(5)}}, 3 * time.Second},
		{[]interval{{at(6), at(8)}, {at(-5), at(1)}, {at(6), at(7)}}, 3 * time.Second},
		{[]interval{{at(-5), at(50)}, {at(3), at(4)}}, 10 * time.Second},
		{[]interval{{at(20), at(30)}, {at(5), at(4)}}, 0},
	} {
		if got := covered(at(0), at(10), c.intervals); got != c.want {
			t.Errorf("%v: %v, want %v", c.intervals, got, c.want)
		}
	}
}

func TestStartsAreCountedOnce(t *testing.T) {
	r := New(Config{NodeName: "n"})
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p", UID: "u", CreationTimestamp: metav1.Now()}}
	running := &corev1.PodStatus{Phase: corev1.PodRunning, ContainerStatuses: []corev1.ContainerStatus{
		{Name: "c", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.Now()}}},
	}}
	observed := func() uint64 {
		var m dto.Metric
		if err := r.own.podStart.Write(&m); err != nil {
			t.Fatal(err)
		}
		return m.GetHistogram().GetSampleCount()
	}
	r.OnStatus(pod, running) // an earlier agent started it
	if n := observed(); n != 0 {
		t.Errorf("adopted: %d starts", n)
	}
	pending := &corev1.PodStatus{Phase: corev1.PodPending}
	r.OnStatus(pod, pending)
	r.OnStep(podmgr.Step{Pod: pod, Name: string(plan.PullImage), Began: time.Now(), Took: time.Second})
	r.OnStatus(pod, pending)
	r.OnStatus(pod, running)
	r.OnStatus(pod, running)
	if n := observed(); n != 1 {
		t.Errorf("started: %d starts", n)
	}
	refused := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "q", UID: "v"}}
	r.OnStatus(refused, pending)
	r.OnStatus(refused, &corev1.PodStatus{Phase: corev1.PodFailed, Reason: "OutOfcpu"})
	if n := observed(); n != 1 {
		t.Errorf("refused: %d starts", n)
	}
	r.OnStatus(refused, pending)
	r.OnStep(podmgr.Step{Pod: refused, Name: string(plan.CreateSandbox), Err: errors.New("no")})
	r.OnProbe(podmgr.Probed{UID: "v", Kind: "Liveness", Result: "failed"})
	r.OnStep(podmgr.Step{Pod: refused, Name: string(plan.Finish)})
	if len(r.own.starts) != 0 || len(r.own.probes) != 0 {
		t.Errorf("kept of Pods that are gone: %v %v", r.own.starts, r.own.probes)
	}
	var failed dto.Metric
	if err := r.own.podStartErrors.Write(&failed); err != nil || failed.GetCounter().GetValue() != 1 {
		t.Errorf("failed sandboxes: %v, %v", &failed, err)
	}
}
