// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"net/http"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"

	"github.com/minikubelet/minikubelet/store"
)

// completeClaim gives a claim that names no StorageClass the default one: of several
// the newest, as Kubernetes' admission does.
func (s *Server) completeClaim(_ *http.Request, o store.Object) error {
	claim := o.(*corev1.PersistentVolumeClaim)
	if _, named := claim.Annotations[corev1.BetaStorageClassAnnotation]; named || claim.Spec.StorageClassName != nil {
		return nil
	}
	var found *storagev1.StorageClass
	err := each(s.cfg.Store, "storageclasses", "", func(c *storagev1.StorageClass) error {
		if c.Annotations[annotationDefaultClass] != "true" && c.Annotations["storageclass.beta.kubernetes.io/is-default-class"] != "true" {
			return nil
		}
		if found == nil || c.CreationTimestamp.After(found.CreationTimestamp.Time) { // they come by name
			found = c
		}
		return nil
	})
	if err != nil || found == nil {
		return err
	}
	claim.Spec.StorageClassName = &found.Name
	return nil
}
