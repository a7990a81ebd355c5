// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	upstream "k8s.io/kubernetes/pkg/apis/core/v1"
	"k8s.io/kubernetes/pkg/apis/core/validation"
	"k8s.io/utils/ptr"

	"github.com/minikubelet/minikubelet/api"
	"github.com/minikubelet/minikubelet/store"
)

func persistentVolumeKind() *kind {
	k := declare[corev1.PersistentVolume, corev1.PersistentVolumeList](&kind{
		version: "v1", name: "persistentvolumes", singular: "persistentvolume", kind: "PersistentVolume", short: []string{"pv"},
		verbs: allVerbs, types: corev1.AddToScheme,
		strategy: byRules(api.PersistentVolumeRules(), func(o, old store.Object) {
			v := o.(*corev1.PersistentVolume)
			v.Status = corev1.PersistentVolumeStatus{Phase: corev1.VolumePending, LastPhaseTransitionTime: ptr.To(metav1.Now().Rfc3339Copy())}
			if old != nil {
				v.Status = old.(*corev1.PersistentVolume).Status
			}
		}),
		columns: []metav1.TableColumnDefinition{
			column("Name", "string", 0, "Name of the PersistentVolume."),
			column("Capacity", "string", 0, "Its size."),
			column("Access Modes", "string", 0, "How it may be mounted."),
			column("Reclaim Policy", "string", 0, "What becomes of it when its claim is gone."),
			column("Status", "string", 0, "Whether it is bound."),
			column("Claim", "string", 0, "The claim that it is bound to."),
			column("StorageClass", "string", 0, "Its StorageClass."),
			column("VolumeAttributesClass", "string", 0, "Its VolumeAttributesClass."),
			column("Reason", "string", 0, "Why it has its status."),
			column("Age", "string", 0, "Time since its creation."),
			column("VolumeMode", "string", 1, "File system or block device."),
		},

		cells: func(o store.Object) []any {
			v := o.(*corev1.PersistentVolume)
			phase, claim := string(v.Status.Phase), ""
			if v.DeletionTimestamp != nil {
				phase = "Terminating"
			}
			if c := v.Spec.ClaimRef; c != nil {
				claim = c.Namespace + "/" + c.Name
			}
			return []any{
				v.Name, v.Spec.Capacity.Storage().String(), accessModes(v.Spec.AccessModes), string(v.Spec.PersistentVolumeReclaimPolicy), phase, claim,
				v.Spec.StorageClassName, unset(ptr.Deref(v.Spec.VolumeAttributesClassName, "")), v.Status.Reason, age(v.CreationTimestamp),
				unset(string(ptr.Deref(v.Spec.VolumeMode, ""))),
			}
		},
	})
	k.subresources = []subresource{k.statusBy(func(o, old store.Object) (field.ErrorList, []string) {
		v := o.(*corev1.PersistentVolume)
		v.Spec = old.(*corev1.PersistentVolume).Spec
		return api.RulesOf(nil, upstream.Convert_v1_PersistentVolume_To_core_PersistentVolume, nil, validation.ValidatePersistentVolumeStatusUpdate).Update(v, old), nil
	})}
	return k
}

// accessModes are the short names that kubectl shows, in the order in which it
// does.
func accessModes(modes []corev1.PersistentVolumeAccessMode) string {
	var out []string
	for _, m := range []struct {
		mode  corev1.PersistentVolumeAccessMode
		short string
	}{
		{corev1.ReadWriteOnce, "RWO"}, {corev1.ReadOnlyMany, "ROX"}, {corev1.ReadWriteMany, "RWX"}, {corev1.ReadWriteOncePod, "RWOP"},
	} {
		if slices.Contains(modes, m.mode) {
			out = append(out, m.short)
		}
	}
	return strings.Join(out, ",")
}
