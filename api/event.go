// SPDX-License-Identifier: Apache-2.0

package api

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/kubernetes/pkg/apis/core"
	upstream "k8s.io/kubernetes/pkg/apis/core/v1"
	"k8s.io/kubernetes/pkg/apis/core/validation"
)

// EventRules are those of Events.
func EventRules() Rules {
	return RulesOf(nil, upstream.Convert_v1_Event_To_core_Event,
		func(e *core.Event) field.ErrorList {
			return validation.ValidateEventCreate(e, corev1.SchemeGroupVersion)
		},
		func(e, old *core.Event) field.ErrorList {
			return validation.ValidateEventUpdate(e, old, corev1.SchemeGroupVersion)
		})
}
