// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/utils/ptr"

	"github.com/minikubelet/minikubelet/store"
)

// prioritize gives a new Pod the priority of its PriorityClass, as Kubernetes'
// admission does.
func prioritize(s *store.Store, p *corev1.Pod) error {
	class, err := priorityClassOf(s, p)
	if err != nil {
		return err
	}
	policy := ptr.Deref(class.PreemptionPolicy, corev1.PreemptLowerPriority)
	if have := p.Spec.Priority; have != nil && *have != class.Value {
		return forbidPod(p, "the integer value of priority (%d) must not be provided in pod spec; "+
			"priority admission controller computed %d from the given PriorityClass name", *have, class.Value)
	}
	if have := p.Spec.PreemptionPolicy; have != nil && *have != policy {
		return forbidPod(p, "the string value of PreemptionPolicy (%s) must not be provided in pod spec; "+
			"priority admission controller computed %s from the given PriorityClass name", *have, policy)
	}
	p.Spec.PriorityClassName, p.Spec.Priority, p.Spec.PreemptionPolicy = class.Name, &class.Value, &policy
	return nil
}

// priorityClassOf is the class that a Pod names, or the default one; an empty class
// when there is none. The system's own are there before they are stored, too.
func priorityClassOf(s *store.Store, p *corev1.Pod) (*schedulingv1.PriorityClass, error) {
	name := p.Spec.PriorityClassName
	if name == "" {
		found, err := defaultPriority(s)
		if found == nil {
			found = new(schedulingv1.PriorityClass)
		}
		return found, err
	}
	class := new(schedulingv1.PriorityClass)
	err := s.Get("priorityclasses", "", name, class)
	if !apierrors.IsNotFound(err) {
		return class, err
	}
	system := systemPriorities()
	if i := slices.IndexFunc(system, func(c *schedulingv1.PriorityClass) bool { return c.Name == name }); i >= 0 {
		return system[i], nil
	}
	return nil, forbidPod(p, "no PriorityClass with name %v was found", name)
}
