// SPDX-License-Identifier: Apache-2.0

package podmgr

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/minikubelet/minikubelet/podmgr/plan"
	"github.com/minikubelet/minikubelet/runtime/spec"
)

const (
	noMatch     = "NodeAffinity: Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector"
	notTolerate = "TaintToleration: Predicate TaintToleration failed: node(s) had taints that the pod didn't tolerate"
)

func TestMisplaced(t *testing.T) {
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1", Labels: NodeLabels("n1")}}
	node.Labels["disk"] = "ssd"
	tainted := node.DeepCopy()
	tainted.Spec.Taints = []corev1.Taint{{Key: "a", Effect: corev1.TaintEffectNoSchedule}, {Key: "b", Value: "x", Effect: corev1.TaintEffectNoExecute}}
	selects := func(key, value string) func(*corev1.Pod) {
		return func(p *corev1.Pod) { p.Spec.NodeSelector = map[string]string{key: value} }
	}
	requires := func(term corev1.NodeSelectorTerm) func(*corev1.Pod) {
		return func(p *corev1.Pod) {
			p.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{
				RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{term}},
			}}
		}
	}
	expression := func(key string, op corev1.NodeSelectorOperator, values ...string) corev1.NodeSelectorTerm {
		return corev1.NodeSelectorTerm{MatchExpressions: []corev1.NodeSelectorRequirement{{Key: key, Operator: op, Values: values}}}
	}
	field := func(name string) corev1.NodeSelectorTerm {
		return corev1.NodeSelectorTerm{MatchFields: []corev1.NodeSelectorRequirement{{Key: "metadata.name", Operator: corev1.NodeSelectorOpIn, Values: []string{name}}}}
	}
	tests := map[string]struct {
		node   *corev1.Node
		change func(*corev1.Pod)
		want   string
	}{
		"selects nothing":           {node, func(*corev1.Pod) {}, ""},
		"selects a label that is":   {node, selects("disk", "ssd"), ""},
		"selects the host name":     {node, selects(corev1.LabelHostname, "n1"), ""},
		"selects another value":     {node, selects("disk", "hdd"), noMatch},
		"selects what there is not": {node, selects("gpu", ""), noMatch},
		"an affinity that matches":  {node, requires(expression("disk", corev1.NodeSelectorOpIn, "hdd", "ssd")), ""},
		"an affinity that does not": {node, requires(expression("disk", corev1.NodeSelectorOpNotIn, "ssd")), noMatch},
		"one that cannot be read":   {node, requires(expression("disk", "Near", "ssd")), noMatch},
		"the node by name":          {node, requires(field("n1")), ""},
		"another node by name":      {node, requires(field("n2")), noMatch},
		"a taint that evicts":       {tainted, func(*corev1.Pod) {}, notTolerate},
		"both reasons, the first":   {tainted, selects("disk", "hdd"), noMatch},
		"a manifest is not asked":   {tainted, func(p *corev1.Pod) { p.Annotations = map[string]string{annotationSource: "file"} }, ""},
		"a taint that is tolerated": {tainted, func(p *corev1.Pod) {
			p.Spec.Tolerations = []corev1.Toleration{{Key: "b", Operator: corev1.TolerationOpExists}}
		}, ""},
		"a taint for schedulers": {tainted, func(p *corev1.Pod) {
			p.Spec.Tolerations = []corev1.Toleration{{Key: "b", Value: "x", Effect: corev1.TaintEffectNoExecute}}
		}, ""},
		"toleration of another kind": {tainted, func(p *corev1.Pod) { p.Spec.Tolerations = []corev1.Toleration{{Key: "b", Value: "y"}} }, notTolerate},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			pod := new(corev1.Pod)
			tt.change(pod)
			if got := said(misplaced(tt.node, pod)); got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}

func said(r *plan.Refusal) string {
	if r == nil {
		return ""
	}
	return r.Reason + ": " + r.Message
}

// TestWhichReasonIsTold: a shortage comes first, but not for a critical Pod, for which
// others would be ended in vain.
func TestWhichReasonIsTold(t *testing.T) {
	m := &Manager{cfg: Config{Allocatable: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1")}, Node: spec.Node{}}}
	unfit := &plan.Refusal{Reason: "NodeAffinity"}
	critical := int32(2000000000)
	for name, tt := range map[string]struct {
		priority *int32
		cpu      string
		want     string
		missing  int
	}{
		"a shortage":                 {nil, "2", "OutOfcpu", 1},
		"none":                       {nil, "1", "NodeAffinity", 0},
		"a shortage, a critical Pod": {&critical, "2", "NodeAffinity", 0},
	} {
		pod := &corev1.Pod{Spec: corev1.PodSpec{Priority: tt.priority, Containers: []corev1.Container{{Name: "a", Resources: cpus(tt.cpu)}}}}
		got, missing := m.place(pod, false, unfit)
		if got == nil || got.Reason != tt.want || len(missing) != tt.missing {
			t.Errorf("%s: %s, missing %v", name, said(got), missing)
		}
	}
}
