// SPDX-License-Identifier: Apache-2.0

package api

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	podutil "k8s.io/kubernetes/pkg/api/pod"
	"k8s.io/kubernetes/pkg/apis/core"
	upstream "k8s.io/kubernetes/pkg/apis/core/v1"
	"k8s.io/kubernetes/pkg/apis/core/validation"
)

// Default completes a Pod as the Kubernetes API does: upstream's defaults, and the
// namespace "default" where there is none. It may be called again.
func Default(pod *corev1.Pod) {
	if pod.Namespace == "" {
		pod.Namespace = metav1.NamespaceDefault
	}
	pod.APIVersion, pod.Kind = "v1", "Pod"
	upstream.SetObjectDefaults_Pod(pod)
}

// Validate checks a defaulted Pod with the rules that the Kubernetes API applies
// when a Pod is created. It does not change the Pod.
func Validate(pod *corev1.Pod) field.ErrorList {
	allowPrivileged()
	internal := new(core.Pod)
	if err := upstream.Convert_v1_Pod_To_core_Pod(pod.DeepCopy(), internal, nil); err != nil {
		return field.ErrorList{field.InternalError(nil, err)}
	}
	opts := podutil.GetValidationOptionsFromPodSpecAndMeta(&internal.Spec, nil, &internal.ObjectMeta, nil)
	opts.ResourceIsPod = true
	return validation.ValidatePodCreate(internal, opts)
}
