// SPDX-License-Identifier: Apache-2.0

package api

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	upstream "k8s.io/kubernetes/pkg/apis/core/v1"
	"k8s.io/kubernetes/pkg/apis/core/validation"
)

// NamespaceRules are those of Namespaces. Their default adds the finalizer by
// which the contents go first.
func NamespaceRules() Rules {
	return RulesOf(defaultNamespace, upstream.Convert_v1_Namespace_To_core_Namespace,
		validation.ValidateNamespace, validation.ValidateNamespaceUpdate)
}

func defaultNamespace(n *corev1.Namespace) {
	upstream.SetObjectDefaults_Namespace(n)
	if n.DeletionTimestamp == nil && !slices.Contains(n.Spec.Finalizers, corev1.FinalizerKubernetes) {
		n.Spec.Finalizers = append(n.Spec.Finalizers, corev1.FinalizerKubernetes)
	}
	if n.Status.Phase == "" {
		n.Status.Phase = corev1.NamespaceActive
	}
}

// NamespaceFinalizeRules are those for changes of a namespace's finalizers.
func NamespaceFinalizeRules() Rules {
	return RulesOf(nil, upstream.Convert_v1_Namespace_To_core_Namespace,
		validation.ValidateNamespace, validation.ValidateNamespaceFinalizeUpdate)
}
