// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// Taints come and go with the conditions; others stay as they are.
func TestPressureTaints(t *testing.T) {
	of := func(memory, disk corev1.ConditionStatus) []corev1.NodeCondition {
		return []corev1.NodeCondition{
			{Type: corev1.NodeReady, Status: corev1.ConditionTrue}, {Type: corev1.NodeMemoryPressure, Status: memory}, {Type: corev1.NodeDiskPressure, Status: disk},
		}
	}
	taints := []corev1.Taint{{Key: "own", Effect: corev1.TaintEffectNoExecute}, {Key: corev1.TaintNodeDiskPressure, Effect: corev1.TaintEffectNoExecute}}
	for i, tt := range []struct {
		conditions []corev1.NodeCondition
		want       string
	}{
		{of("False", "False"), "own:NoExecute node.kubernetes.io/disk-pressure:NoExecute"},
		{of("True", "False"), "own:NoExecute node.kubernetes.io/disk-pressure:NoExecute node.kubernetes.io/memory-pressure:NoSchedule"},
		{of("True", "True"), "own:NoExecute node.kubernetes.io/disk-pressure:NoExecute node.kubernetes.io/memory-pressure:NoSchedule node.kubernetes.io/disk-pressure:NoSchedule"},
		{of("False", "True"), "own:NoExecute node.kubernetes.io/disk-pressure:NoExecute node.kubernetes.io/disk-pressure:NoSchedule"},
		{of("Unknown", "Unknown"), "own:NoExecute node.kubernetes.io/disk-pressure:NoExecute"},
	} {
		taints = pressureTaints(taints, tt.conditions)
		got := ""
		for _, taint := range taints {
			got += fmt.Sprintf(" %s:%s", taint.Key, taint.Effect)
		}
		if got != " "+tt.want {
			t.Errorf("step %d:%s\nwant %s", i, got, tt.want)
		}
	}
}
