// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/kubernetes/pkg/apis/core"
	upstream "k8s.io/kubernetes/pkg/apis/core/v1"
	"k8s.io/kubernetes/pkg/apis/core/validation"

	"github.com/minikubelet/minikubelet/api"
)

func limitRangeKind() *kind {
	return declare[corev1.LimitRange, corev1.LimitRangeList](&kind{
		version: "v1", name: "limitranges", singular: "limitrange", kind: "LimitRange", short: []string{"limits"},
		namespaced: true, verbs: allVerbs, makes: true, types: corev1.AddToScheme,
		strategy: byRules(api.RulesOf(upstream.SetObjectDefaults_LimitRange, upstream.Convert_v1_LimitRange_To_core_LimitRange,
			validation.ValidateLimitRange, func(l, _ *core.LimitRange) field.ErrorList { return validation.ValidateLimitRange(l) }), nil),
		columns: madeColumns("LimitRange"),
		cells:   madeCells,
	})
}
