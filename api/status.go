// SPDX-License-Identifier: Apache-2.0

package api

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	podutil "k8s.io/kubernetes/pkg/api/pod"
	"k8s.io/kubernetes/pkg/apis/core"
	upstream "k8s.io/kubernetes/pkg/apis/core/v1"
	"k8s.io/kubernetes/pkg/apis/core/validation"
)

// ValidateStatusUpdate checks what of a Pod's status a client has changed. The Pods
// are not changed.
func ValidateStatusUpdate(pod, old *corev1.Pod) field.ErrorList {
	return RulesOf(nil, upstream.Convert_v1_Pod_To_core_Pod, nil, func(now, before *core.Pod) field.ErrorList {
		opts := podutil.GetValidationOptionsFromPodSpecAndMeta(&now.Spec, &before.Spec, &now.ObjectMeta, &before.ObjectMeta)
		opts.ResourceIsPod = true
		return validation.ValidatePodStatusUpdate(now, before, opts)
	}).Update(pod, old)
}
