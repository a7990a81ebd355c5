// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

func memory(s string) corev1.ResourceList {
	return corev1.ResourceList{corev1.ResourceMemory: resource.MustParse(s)}
}

func TestPodsTakeWhatTheirRuntimeClassSays(t *testing.T) {
	b := newBench(t)
	b.space("default")
	c := b.client("")
	for _, class := range []*nodev1.RuntimeClass{
		{ObjectMeta: metav1.ObjectMeta{Name: "plain"}, Handler: "runc"},
		{ObjectMeta: metav1.ObjectMeta{Name: "heavy"}, Handler: "runc", Overhead: &nodev1.Overhead{PodFixed: memory("32Mi")},
			Scheduling: &nodev1.Scheduling{
				NodeSelector: map[string]string{"vm": "yes"},
				Tolerations:  []corev1.Toleration{{Key: "vm", Operator: corev1.TolerationOpExists}},
			}},
	} {
		if _, err := c.NodeV1().RuntimeClasses().Create(t.Context(), class, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	for name, test := range map[string]struct {
		class    *string
		overhead corev1.ResourceList
		selector map[string]string
		refused  string
	}{
		"none":           {},
		"none-overhead":  {overhead: memory("1Mi"), refused: "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead"},
		"plain":          {class: ptr.To("plain")},
		"heavy":          {class: ptr.To("heavy"), selector: map[string]string{"disk": "ssd"}},
		"heavy-same":     {class: ptr.To("heavy"), overhead: memory("32Mi")},
		"heavy-other":    {class: ptr.To("heavy"), overhead: memory("33Mi"), refused: "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead"},
		"heavy-conflict": {class: ptr.To("heavy"), selector: map[string]string{"vm": "no"}, refused: "conflict: runtimeClass.scheduling.nodeSelector[vm] = yes; pod.spec.nodeSelector[vm] = no"},
		"unknown":        {class: ptr.To("kata"), refused: `pod rejected: RuntimeClass "kata" not found`},
	} {
		p := simplePod(name)
		p.Spec.RuntimeClassName, p.Spec.Overhead, p.Spec.NodeSelector = test.class, test.overhead, test.selector
		p, err := c.CoreV1().Pods("default").Create(t.Context(), p, metav1.CreateOptions{})
		if test.refused != "" {
			if !apierrors.IsForbidden(err) || !strings.HasSuffix(err.Error(), test.refused) {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		heavy := ptr.Deref(test.class, "") == "heavy"
		if got := p.Spec.Overhead.Memory().String() == "32Mi"; got != heavy {
			t.Errorf("%s: overhead %v", name, p.Spec.Overhead)
		}
		if got := p.Spec.NodeSelector["vm"] == "yes" && len(p.Spec.NodeSelector) == len(test.selector)+1; got != heavy {
			t.Errorf("%s: node selector %v", name, p.Spec.NodeSelector)
		}
		if got := len(p.Spec.Tolerations) == 1; got != heavy {
			t.Errorf("%s: tolerations %v", name, p.Spec.Tolerations)
		}
	}
}

func TestFilePodsResolveTheirClasses(t *testing.T) {
	b := newBench(t)
	b.put("runtimeclasses", &nodev1.RuntimeClass{ObjectMeta: metav1.ObjectMeta{Name: "heavy"}, Handler: "runc", Overhead: &nodev1.Overhead{PodFixed: memory("32Mi")}})
	p := simplePod("critical")
	p.Spec.PriorityClassName, p.Spec.RuntimeClassName = "system-node-critical", ptr.To("heavy")
	if err := ResolveClasses(b.store, p); err != nil || ptr.Deref(p.Spec.Priority, 0) != 2000001000 || p.Spec.Overhead.Memory().String() != "32Mi" {
		t.Errorf("%v: %+v", err, p.Spec)
	}
	p = simplePod("own") // as static Pods may
	p.Spec.Priority, p.Spec.Overhead = ptr.To[int32](7), memory("1Mi")
	if err := ResolveClasses(b.store, p); err != nil || *p.Spec.Priority != 7 || p.Spec.Overhead.Memory().String() != "1Mi" {
		t.Errorf("%v: %+v", err, p.Spec)
	}
	for _, spec := range []corev1.PodSpec{{PriorityClassName: "none"}, {RuntimeClassName: ptr.To("none")}} {
		p := simplePod("unknown")
		p.Spec.PriorityClassName, p.Spec.RuntimeClassName = spec.PriorityClassName, spec.RuntimeClassName
		if err := ResolveClasses(b.store, p); !apierrors.IsForbidden(err) {
			t.Errorf("%+v: %v", spec, err)
		}
	}
}

func TestTolerationsAreMerged(t *testing.T) {
	exists := func(key string) corev1.Toleration {
		return corev1.Toleration{Key: key, Operator: corev1.TolerationOpExists}
	}
	is := func(key, value string, seconds *int64) corev1.Toleration {
		return corev1.Toleration{Key: key, Operator: corev1.TolerationOpEqual, Value: value, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: seconds}
	}
	for name, test := range map[string]struct {
		a, b []corev1.Toleration
		want int
	}{
		"equal":   {[]corev1.Toleration{exists("a")}, []corev1.Toleration{exists("a")}, 1},
		"covered": {[]corev1.Toleration{is("a", "1", nil)}, []corev1.Toleration{exists("a")}, 1},
		"all":     {[]corev1.Toleration{exists("a"), exists("b")}, []corev1.Toleration{exists("")}, 1},
		"values":  {[]corev1.Toleration{is("a", "1", nil)}, []corev1.Toleration{is("a", "2", nil)}, 2},
		"longer":  {[]corev1.Toleration{is("a", "1", ptr.To[int64](5))}, []corev1.Toleration{is("a", "1", ptr.To[int64](7))}, 1},
	} {
		if got := mergeTolerations(test.a, test.b); len(got) != test.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
