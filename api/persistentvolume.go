// SPDX-License-Identifier: Apache-2.0

package api

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/kubernetes/pkg/apis/core"
	upstream "k8s.io/kubernetes/pkg/apis/core/v1"
	"k8s.io/kubernetes/pkg/apis/core/validation"
)

// PersistentVolumeRules are those of PersistentVolumes.
func PersistentVolumeRules() Rules {
	return RulesOf(upstream.SetObjectDefaults_PersistentVolume, upstream.Convert_v1_PersistentVolume_To_core_PersistentVolume,
		func(v *core.PersistentVolume) field.ErrorList {
			return validation.ValidatePersistentVolume(v, validation.ValidationOptionsForPersistentVolume(v, nil))
		},
		func(v, old *core.PersistentVolume) field.ErrorList {
			return validation.ValidatePersistentVolumeUpdate(v, old, validation.ValidationOptionsForPersistentVolume(v, old))
		})
}

// keepVolume gives a volume of a manifest what the stored one has beyond it.
func keepVolume(o, have Meta) field.ErrorList {
	v, old := o.(*corev1.PersistentVolume), have.(*corev1.PersistentVolume)
	v.Status = old.Status
	if r, was := v.Spec.ClaimRef, old.Spec.ClaimRef; was != nil && (r == nil || r.Namespace == was.Namespace && r.Name == was.Name && r.UID == "") {
		v.Spec.ClaimRef = was
	}
	return nil
}
