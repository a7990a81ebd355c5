// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"fmt"
	"strings"
	"testing"

	schedulingv1 "k8s.io/api/scheduling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestPodsTakeTheirPriority(t *testing.T) {
	b := newBench(t)
	b.space("default")
	if err := Bootstrap(b.store); err != nil {
		t.Fatal(err)
	}
	c := b.client("")
	create := func(name, class string) string {
		p := simplePod(name)
		p.Spec.PriorityClassName = class
		p, err := c.CoreV1().Pods("default").Create(t.Context(), p, metav1.CreateOptions{})
		if err != nil {
			return err.Error()
		}
		return fmt.Sprint(p.Spec.PriorityClassName, " ", *p.Spec.Priority, " ", *p.Spec.PreemptionPolicy)
	}
	for _, name := range []string{"low", "other"} {
		_, err := c.SchedulingV1().PriorityClasses().Create(t.Context(), &schedulingv1.PriorityClass{
			ObjectMeta: metav1.ObjectMeta{Name: name}, Value: 7, GlobalDefault: true,
		}, metav1.CreateOptions{})
		if (err != nil) != (name == "other") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := c.SchedulingV1().PriorityClasses().Delete(t.Context(), "system-node-critical", metav1.DeleteOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("a system class: %v", err)
	}
	for class, want := range map[string]string{
		"": "low 7 PreemptLowerPriority", "system-node-critical": "system-node-critical 2000001000 PreemptLowerPriority",
		"none": "no PriorityClass with name none was found",
	} {
		if got := create("p"+class, class); !strings.Contains(got, want) {
			t.Errorf("%q: %s", class, got)
		}
	}
}
