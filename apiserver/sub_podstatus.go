// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/minikubelet/minikubelet/api"
	"github.com/minikubelet/minikubelet/store"
)

// podStatus is …/pods/{name}/status. The node reports on its Pods itself; what
// others may say are conditions that are not the node's, for readiness gates.
func podStatus(cfg *Config, k *kind) subresource {
	return k.statusBy(func(o, before store.Object) (field.ErrorList, []string) {
		p, old := o.(*corev1.Pod), before.(*corev1.Pod)
		old.Spec.DeepCopyInto(&p.Spec)
		p.OwnerReferences = old.OwnerReferences
		theirs := slices.DeleteFunc(slices.Clone(p.Status.Conditions), func(c corev1.PodCondition) bool { return cfg.OwnsCondition(c) })
		ours := slices.DeleteFunc(slices.Clone(old.Status.Conditions), func(c corev1.PodCondition) bool { return !cfg.OwnsCondition(c) })
		old.Status.DeepCopyInto(&p.Status)
		p.Status.Conditions = append(ours, theirs...)
		return append(checkReserved(p.Annotations, old.Annotations), api.ValidateStatusUpdate(p, old)...), nil
	})
}
