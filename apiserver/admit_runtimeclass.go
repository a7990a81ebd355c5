// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/minikubelet/minikubelet/store"
)

// ResolveClasses gives a Pod that does not come over the API, the caller's own and
// not stored yet, what its PriorityClass and its RuntimeClass say. What it says
// itself counts more, as with the kubelet's static Pods.
func ResolveClasses(s *store.Store, p *corev1.Pod) error {
	if p.Spec.Priority == nil {
		if err := prioritize(s, p); err != nil {
			return err
		}
	}
	if p.Spec.RuntimeClassName == nil {
		return nil
	}
	return takeRuntimeClass(s, p)
}

func forbidPod(p *corev1.Pod, format string, args ...any) error {
	return apierrors.NewForbidden(corev1.Resource("pods"), p.Name, fmt.Errorf(format, args...))
}

// takeRuntimeClass gives a new Pod the overhead, the node selector and the
// tolerations of its RuntimeClass, as Kubernetes' admission does.
func takeRuntimeClass(s *store.Store, p *corev1.Pod) error {
	class := new(nodev1.RuntimeClass)
	if name := p.Spec.RuntimeClassName; name != nil {
		err := s.Get("runtimeclasses", "", *name, class)
		if apierrors.IsNotFound(err) {
			return forbidPod(p, "pod rejected: RuntimeClass %q not found", *name)
		}
		if err != nil {
			return err
		}
	}
	switch {
	case class.Overhead == nil && p.Spec.Overhead != nil:
		return forbidPod(p, "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead")
	case class.Overhead == nil:
	case len(p.Spec.Overhead) > 0 && !apiequality.Semantic.DeepEqual(class.Overhead.PodFixed, p.Spec.Overhead):
		return forbidPod(p, "pod rejected: %w", errOverhead)
	default:
		p.Spec.Overhead = class.Overhead.PodFixed
	}
	if class.Scheduling == nil {
		return nil
	}
	for _, key := range slices.Sorted(maps.Keys(class.Scheduling.NodeSelector)) {
		value := class.Scheduling.NodeSelector[key]
		if own, ok := p.Spec.NodeSelector[key]; ok && own != value {
			return forbidPod(p, "conflict: runtimeClass.scheduling.nodeSelector[%s] = %s; pod.spec.nodeSelector[%s] = %s", key, value, key, own)
		}
		if p.Spec.NodeSelector == nil {
			p.Spec.NodeSelector = make(map[string]string)
		}
		p.Spec.NodeSelector[key] = value
	}
	p.Spec.Tolerations = mergeTolerations(p.Spec.Tolerations, class.Scheduling.Tolerations)
	return nil
}

//lint:ignore ST1005 the text is Kubernetes'
var errOverhead = errors.New("Pod's Overhead doesn't match RuntimeClass's defined Overhead")

// mergeTolerations leaves out those that another one covers; of equal ones the
// first stays.
func mergeTolerations(a, b []corev1.Toleration) []corev1.Toleration {
	all := slices.Concat(a, b)
	var merged []corev1.Toleration
	for i, t := range all {
		covers := func(by corev1.Toleration) bool { return covered(t, by) }
		coversMore := func(by corev1.Toleration) bool { return !apiequality.Semantic.DeepEqual(t, by) && covered(t, by) }
		if !slices.ContainsFunc(merged, covers) && !slices.ContainsFunc(all[i+1:], coversMore) {
			merged = append(merged, t)
		}
	}
	return merged
}

// covered tells whether by tolerates all that t does.
func covered(t, by corev1.Toleration) bool {
	exists := by.Operator == corev1.TolerationOpExists
	equal := (by.Operator == corev1.TolerationOpEqual || by.Operator == "") && t.Operator == corev1.TolerationOpEqual && t.Value == by.Value
	longer := by.Effect != corev1.TaintEffectNoExecute || by.TolerationSeconds == nil ||
		t.TolerationSeconds != nil && *t.TolerationSeconds <= *by.TolerationSeconds
	return apiequality.Semantic.DeepEqual(t, by) ||
		(t.Key == by.Key || by.Key == "" && exists) && (t.Effect == by.Effect || by.Effect == "") && longer && (exists || equal)
}
