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

// podRules are upstream's rules for the change of a Pod.
type podRules func(pod, old *core.Pod, opts validation.PodValidationOptions) field.ErrorList

// ValidateUpdate checks what of a Pod a client has changed with the rules of the
// Kubernetes API: images, labels, annotations, a shorter deadline, more
// tolerations. Both Pods are defaulted; they are not changed.
func ValidateUpdate(pod, old *corev1.Pod) field.ErrorList {
	return validateChange(pod, old, validation.ValidatePodUpdate)
}

// ValidateEphemeralContainers checks a Pod that differs from old in its ephemeral
// containers only: there may be more of them. Both are defaulted and not changed.
func ValidateEphemeralContainers(pod, old *corev1.Pod) field.ErrorList {
	return validateChange(pod, old, validation.ValidatePodEphemeralContainersUpdate)
}

// ValidateResize checks a Pod that differs from old in the resources of its containers
// and of itself, and in their resize policies: cpu and memory may change. Both are
// defaulted and not changed.
func ValidateResize(pod, old *corev1.Pod) field.ErrorList {
	return validateChange(pod, old, validation.ValidatePodResize)
}

func validateChange(pod, old *corev1.Pod, rules podRules) field.ErrorList {
	allowPrivileged()
	now, before := new(core.Pod), new(core.Pod)
	if err := upstream.Convert_v1_Pod_To_core_Pod(pod.DeepCopy(), now, nil); err != nil {
		return field.ErrorList{field.InternalError(nil, err)}
	}
	if err := upstream.Convert_v1_Pod_To_core_Pod(old.DeepCopy(), before, nil); err != nil {
		return field.ErrorList{field.InternalError(nil, err)}
	}
	opts := podutil.GetValidationOptionsFromPodSpecAndMeta(&now.Spec, &before.Spec, &now.ObjectMeta, &before.ObjectMeta)
	opts.ResourceIsPod = true
	return rules(now, before, opts)
}
