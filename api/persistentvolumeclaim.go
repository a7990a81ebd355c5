// SPDX-License-Identifier: Apache-2.0

package api

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/kubernetes/pkg/apis/core"
	upstream "k8s.io/kubernetes/pkg/apis/core/v1"
	"k8s.io/kubernetes/pkg/apis/core/validation"
)

// PersistentVolumeClaimRules are those of PersistentVolumeClaims.
func PersistentVolumeClaimRules() Rules {
	return RulesOf(upstream.SetObjectDefaults_PersistentVolumeClaim, upstream.Convert_v1_PersistentVolumeClaim_To_core_PersistentVolumeClaim,
		func(c *core.PersistentVolumeClaim) field.ErrorList {
			return validation.ValidatePersistentVolumeClaim(c, validation.ValidationOptionsForPersistentVolumeClaim(c, nil))
		},
		func(c, old *core.PersistentVolumeClaim) field.ErrorList {
			return validation.ValidatePersistentVolumeClaimUpdate(c, old, validation.ValidationOptionsForPersistentVolumeClaim(c, old))
		})
}

// keepClaim gives a claim of a manifest what the stored one has beyond it.
func keepClaim(o, have Meta) field.ErrorList {
	c, old := o.(*corev1.PersistentVolumeClaim), have.(*corev1.PersistentVolumeClaim)
	c.Status = old.Status
	if c.Spec.VolumeName == "" {
		c.Spec.VolumeName = old.Spec.VolumeName
	}
	if c.Spec.StorageClassName == nil {
		c.Spec.StorageClassName = old.Spec.StorageClassName
	}
	if c.Spec.Resources.Requests.Storage().Cmp(*old.Spec.Resources.Requests.Storage()) > 0 {
		return field.ErrorList{field.Forbidden(field.NewPath("spec", "resources", "requests").Key("storage"), "a claim from a manifest cannot grow")}
	}
	return nil
}
