// SPDX-License-Identifier: Apache-2.0

package pressure

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func podOf(name string, priority int32) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.PodSpec{Priority: &priority}}
}

func TestShutdownGroups(t *testing.T) {
	critical := podOf("critical", 0)
	critical.Spec.Priority, critical.Spec.PriorityClassName = nil, nodeCriticalClass
	plain := podOf("plain", 0)
	plain.Spec.Priority = nil
	pods := []*corev1.Pod{critical, podOf("high", 5000), podOf("low", -5), plain, podOf("between", 99), podOf("exactly", 100)}
	for _, tt := range []struct {
		name    string
		classes []ShutdownClass
		want    string
	}{
		{"none", nil, ""},
		{"two periods", ShutdownClasses(30*time.Second, 10*time.Second), "0 20s: high low plain between exactly; 2000000000 10s: critical"},
		{"critical Pods have no time of their own", ShutdownClasses(30*time.Second, 0), "0 30s: high low plain between exactly; 2000000000 0s: critical"},
		{
			"classes in any order; one without a Pod is left out",
			[]ShutdownClass{{10000, 3 * time.Second}, {100, 2 * time.Second}, {0, time.Second}, {9000, time.Hour}},
			"0 1s: low plain between; 100 2s: high exactly; 10000 3s: critical",
		},
	} {
		var got []string
		for _, g := range ShutdownGroups(tt.classes, pods) {
			line := fmt.Sprintf("%d %s:", g.Priority, g.Grace)
			for _, p := range g.Pods {
				line += " " + p.Name
			}
			got = append(got, line)
		}
		if text := strings.Join(got, "; "); text != tt.want {
			t.Errorf("%s:\n%s\nwant\n%s", tt.name, text, tt.want)
		}
	}
	g := ShutdownGroup{ShutdownClass: ShutdownClass{0, 20 * time.Second}}
	own := int64(5)
	quick := &corev1.Pod{Spec: corev1.PodSpec{TerminationGracePeriodSeconds: &own}}
	if g.GraceOf(quick) != 5*time.Second || g.GraceOf(&corev1.Pod{}) != 20*time.Second {
		t.Error("a Pod has the lesser of its own time and its class's")
	}
}
