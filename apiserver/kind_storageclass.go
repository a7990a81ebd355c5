// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/minikubelet/minikubelet/api"
	"github.com/minikubelet/minikubelet/store"
)

func storageClassKind() *kind {
	return declare[storagev1.StorageClass, storagev1.StorageClassList](&kind{
		group: storagev1.GroupName, version: "v1", name: "storageclasses", singular: "storageclass", kind: "StorageClass", short: []string{"sc"},
		verbs: allVerbs, types: storagev1.AddToScheme,
		strategy: byRules(api.StorageClassRules(), nil),
		columns: []metav1.TableColumnDefinition{
			column("Name", "string", 0, "Name of the StorageClass."),
			column("Provisioner", "string", 0, "Who makes its volumes."),
			column("ReclaimPolicy", "string", 0, "What becomes of a volume when its claim is gone."),
			column("VolumeBindingMode", "string", 0, "When volumes are made."),
			column("AllowVolumeExpansion", "string", 0, "Whether volumes may grow."),
			column("Age", "string", 0, "Time since its creation."),
		},

		cells: func(o store.Object) []any {
			c := o.(*storagev1.StorageClass)
			name := c.Name
			if c.Annotations[annotationDefaultClass] == "true" {
				name += " (default)"
			}
			return []any{
				name, c.Provisioner, string(ptr.Deref(c.ReclaimPolicy, corev1.PersistentVolumeReclaimDelete)),
				string(ptr.Deref(c.VolumeBindingMode, storagev1.VolumeBindingImmediate)), ptr.Deref(c.AllowVolumeExpansion, false), age(c.CreationTimestamp),
			}
		},
	})
}

// annotationDefaultClass marks the StorageClass of claims that name none.
const annotationDefaultClass = "storageclass.kubernetes.io/is-default-class"
