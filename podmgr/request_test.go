// SPDX-License-Identifier: Apache-2.0

package podmgr

import (
	"math"
	"path/filepath"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/minikubelet/minikubelet/podmgr/plan"
	"github.com/minikubelet/minikubelet/podmgr/pressure"
	"github.com/minikubelet/minikubelet/store"
)

// TestRequestDeletion: a Pod without a node goes at once, unless finalizers keep it.
func TestRequestDeletion(t *testing.T) {
	s, err := store.Open(filepath.Join(t.TempDir(), "state.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for name, tt := range map[string]struct {
		node       string
		finalizers []string
		stays      bool
	}{
		"placed": {node: "n1", stays: true},
		"waits":  {},
		"held":   {finalizers: []string{"example.com/held"}, stays: true},
	} {
		p := &corev1.Pod{
			TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Finalizers: tt.finalizers},
			Spec:       corev1.PodSpec{NodeName: tt.node},
		}
		if err := s.Create(Pods, p); err != nil {
			t.Fatal(err)
		}
		for range 2 { // asking again changes nothing
			if err := RequestDeletion(s, "default", name, ptr.To[int64](3)); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		var now corev1.Pod
		err := s.Get(Pods, "default", name, &now)
		switch {
		case tt.stays && (err != nil || now.DeletionTimestamp == nil || ptr.Deref(now.DeletionGracePeriodSeconds, -1) != 3):
			t.Errorf("%s: %v %+v", name, err, now.ObjectMeta)
		case !tt.stays && !apierrors.IsNotFound(err):
			t.Errorf("%s is still there: %v", name, err)
		}
	}
}

// TestNegativeGracePeriods are a second, as in Kubernetes.
func TestNegativeGracePeriods(t *testing.T) {
	asked, own := new(corev1.Pod), new(corev1.Pod)
	own.Spec.TerminationGracePeriodSeconds = ptr.To[int64](-5)
	AskToEnd(asked, ptr.To[int64](math.MinInt64))
	AskToEnd(own, nil)
	for _, pod := range []*corev1.Pod{asked, own} {
		if got := *pod.DeletionGracePeriodSeconds; got != 1 {
			t.Errorf("the grace period is %d s", got)
		}
	}
}

// TestLongGracePeriods: the API has no bound for grace periods, and some seconds, as
// nanoseconds, are little or less than nothing when only 64 bits are left of them.
func TestLongGracePeriods(t *testing.T) {
	const long = 100 * 365 * 24 * time.Hour
	for _, seconds := range []int64{math.MaxInt64, math.MaxInt64 / int64(time.Second) * 3, 1<<34 + 1<<31, math.MaxInt64/int64(time.Second) + 1} {
		if got := plan.Seconds(seconds); got < long {
			t.Errorf("%d seconds are %v", seconds, got)
		}
		if got := plan.Seconds(-seconds); got > -long {
			t.Errorf("%d seconds are %v", -seconds, got)
		}
		asked, own := new(corev1.Pod), new(corev1.Pod)
		own.Spec.TerminationGracePeriodSeconds = &seconds
		AskToEnd(asked, &seconds)
		AskToEnd(own, nil)
		for _, pod := range []*corev1.Pod{asked, own} {
			if at := pod.DeletionTimestamp.Time; time.Until(at) < long {
				t.Errorf("the end within %d seconds is due at %v", seconds, at)
			}
		}
		if got := min(graceOf(own, nil), graceOf(new(corev1.Pod), &seconds)); got < long {
			t.Errorf("%d seconds of grace are %v", seconds, got)
		}
		if got := (pressure.ShutdownGroup{ShutdownClass: pressure.ShutdownClass{Grace: time.Hour}}).GraceOf(own); got != time.Hour {
			t.Errorf("%d seconds of grace are %v at a shutdown within an hour", seconds, got)
		}
		if got := pressure.EvictionGrace(&pressure.Threshold{Soft: true}, own, time.Hour); got != time.Hour {
			t.Errorf("%d seconds of grace are %v at an eviction within an hour", seconds, got)
		}
	}
}
