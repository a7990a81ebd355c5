// SPDX-License-Identifier: Apache-2.0

package api

import (
	upstream "k8s.io/kubernetes/pkg/apis/storage/v1"
	"k8s.io/kubernetes/pkg/apis/storage/validation"
)

// StorageClassRules are those of StorageClasses.
func StorageClassRules() Rules {
	return RulesOf(upstream.SetObjectDefaults_StorageClass, upstream.Convert_v1_StorageClass_To_storage_StorageClass,
		validation.ValidateStorageClass, validation.ValidateStorageClassUpdate)
}
