// SPDX-License-Identifier: Apache-2.0

package cgroups

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"pgregory.net/rapid"
)

// What is shown adds up to what upstream's formula gives.
func TestExplanationAddsUp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pod := anyPod(t)
		if rapid.Bool().Draw(t, "overhead") {
			pod.Spec.Overhead = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("10m")}
		}
		effective := EffectiveOf(pod)
		for _, side := range []struct {
			name string
			sums []Sum
			want corev1.ResourceList
		}{{"requests", ExplainRequests(pod), effective.Requests}, {"limits", ExplainLimits(pod), effective.Limits}} {
			if len(side.sums) != len(side.want) {
				t.Fatalf("%s: %d explained, want %d", side.name, len(side.sums), len(side.want))
			}
			for _, s := range side.sums {
				if got, want := added(s), side.want[s.Resource]; got.Cmp(want) != 0 {
					t.Fatalf("%s of %s: shown terms add up to %s, effective is %s: %+v", side.name, s.Resource, got.String(), want.String(), s)
				}
			}
		}
	})
}

// added computes the effective amount from the terms alone.
func added(s Sum) resource.Quantity {
	var apps, largest, total resource.Quantity
	for _, term := range s.Apps {
		apps.Add(term.Amount)
	}
	for _, term := range s.Inits {
		if term.Amount.Cmp(largest) > 0 {
			largest = term.Amount
		}
	}
	switch s.Decides {
	case ByApps:
		total = apps
	case ByInit:
		total = largest
	case ByPodLevel:
		total = *s.PodLevel
	}
	if s.Overhead != nil {
		total = total.DeepCopy()
		total.Add(*s.Overhead)
	}
	return total
}
