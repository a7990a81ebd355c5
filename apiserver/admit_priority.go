// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/utils/ptr"
)

// prioritize gives a new Pod the priority of its PriorityClass, as Kubernetes'
// admission does.
func (s *Server) prioritize(p *corev1.Pod) error {
	refuse := func(format string, args ...any) error {
		return apierrors.NewForbidden(corev1.Resource("pods"), p.Name, fmt.Errorf(format, args...))
	}
	class := new(schedulingv1.PriorityClass)
	if name := p.Spec.PriorityClassName; name != "" {
		err := s.cfg.Store.Get("priorityclasses", "", name, class)
		if apierrors.IsNotFound(err) {
			return refuse("no PriorityClass with name %v was found", name)
		}
		if err != nil {
			return err
		}
	} else {
		found, err := s.defaultPriority()
		if err != nil {
			return err
		}
		if found != nil {
			class = found
		}
	}
	policy := ptr.Deref(class.PreemptionPolicy, corev1.PreemptLowerPriority)
	if have := p.Spec.Priority; have != nil && *have != class.Value {
		return refuse("the integer value of priority (%d) must not be provided in pod spec; "+
			"priority admission controller computed %d from the given PriorityClass name", *have, class.Value)
	}
	if have := p.Spec.PreemptionPolicy; have != nil && *have != policy {
		return refuse("the string value of PreemptionPolicy (%s) must not be provided in pod spec; "+
			"priority admission controller computed %s from the given PriorityClass name", *have, policy)
	}
	p.Spec.PriorityClassName, p.Spec.Priority, p.Spec.PreemptionPolicy = class.Name, &class.Value, &policy
	return nil
}
