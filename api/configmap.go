// SPDX-License-Identifier: Apache-2.0

package api

import (
	upstream "k8s.io/kubernetes/pkg/apis/core/v1"
	"k8s.io/kubernetes/pkg/apis/core/validation"
)

// ConfigMapRules are those of ConfigMaps.
func ConfigMapRules() Rules {
	return RulesOf(upstream.SetObjectDefaults_ConfigMap, upstream.Convert_v1_ConfigMap_To_core_ConfigMap,
		validation.ValidateConfigMap, validation.ValidateConfigMapUpdate)
}
