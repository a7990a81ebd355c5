// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/kubernetes/pkg/apis/core"
	upstream "k8s.io/kubernetes/pkg/apis/core/v1"
	"k8s.io/kubernetes/pkg/apis/core/validation"
	"k8s.io/utils/ptr"

	"github.com/minikubelet/minikubelet/api"
	"github.com/minikubelet/minikubelet/store"
)

func persistentVolumeClaimKind() *kind {
	k := declare[corev1.PersistentVolumeClaim, corev1.PersistentVolumeClaimList](&kind{
		version: "v1", name: "persistentvolumeclaims", singular: "persistentvolumeclaim", kind: "PersistentVolumeClaim", short: []string{"pvc"},
		namespaced: true, verbs: allVerbs, types: corev1.AddToScheme, complete: (*Server).completeClaim, admit: (*Server).admitClaim,
		strategy: byRules(api.PersistentVolumeClaimRules(), func(o, old store.Object) {
			c := o.(*corev1.PersistentVolumeClaim)
			c.Status = corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimPending}
			if old != nil {
				c.Status = old.(*corev1.PersistentVolumeClaim).Status
			}
		}),
		columns: []metav1.TableColumnDefinition{
			column("Name", "string", 0, "Name of the PersistentVolumeClaim."),
			column("Status", "string", 0, "Whether it is bound."),
			column("Volume", "string", 0, "The volume that it is bound to."),
			column("Capacity", "string", 0, "The volume's size."),
			column("Access Modes", "string", 0, "How the volume may be mounted."),
			column("StorageClass", "string", 0, "Its StorageClass."),
			column("VolumeAttributesClass", "string", 0, "Its VolumeAttributesClass."),
			column("Age", "string", 0, "Time since its creation."),
			column("VolumeMode", "string", 1, "File system or block device."),
		},

		cells: func(o store.Object) []any {
			c := o.(*corev1.PersistentVolumeClaim)
			phase, capacity, modes := string(c.Status.Phase), "", ""
			if c.DeletionTimestamp != nil {
				phase = "Terminating"
			}
			if c.Spec.VolumeName != "" {
				capacity, modes = c.Status.Capacity.Storage().String(), accessModes(c.Status.AccessModes)
			}
			return []any{
				c.Name, phase, c.Spec.VolumeName, capacity, modes, ptr.Deref(c.Spec.StorageClassName, ""),
				unset(ptr.Deref(c.Spec.VolumeAttributesClassName, "")), age(c.CreationTimestamp), unset(string(ptr.Deref(c.Spec.VolumeMode, ""))),
			}
		},
	})
	k.subresources = []subresource{k.statusBy(func(o, old store.Object) (field.ErrorList, []string) {
		c := o.(*corev1.PersistentVolumeClaim)
		c.Spec = old.(*corev1.PersistentVolumeClaim).Spec
		return persistentVolumeClaimStatusRules().Update(c, old), nil
	})}
	return k
}

func persistentVolumeClaimStatusRules() api.Rules {
	return api.RulesOf(nil, upstream.Convert_v1_PersistentVolumeClaim_To_core_PersistentVolumeClaim, nil,
		func(c, old *core.PersistentVolumeClaim) field.ErrorList {
			return validation.ValidatePersistentVolumeClaimStatusUpdate(c, old, validation.ValidationOptionsForPersistentVolumeClaim(c, old))
		})
}
