// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"errors"
	"net/http"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/ptr"

	"github.com/minikubelet/minikubelet/store"
)

var errCannotGrow = errors.New("only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize")

// admitClaim lets a bound claim ask for more only when its class says that its volumes
// can grow, with the words of Kubernetes' admission plugin PersistentVolumeClaimResize.
// Validation has decided of other changes, and of claims that are not bound.
func (s *Server) admitClaim(_ *http.Request, o, old store.Object) ([]string, error) {
	before, ok := old.(*corev1.PersistentVolumeClaim)
	if !ok { // a new one
		return nil, nil
	}
	claim := o.(*corev1.PersistentVolumeClaim)
	if claim.Spec.Resources.Requests.Storage().Cmp(*before.Spec.Resources.Requests.Storage()) <= 0 {
		return nil, nil
	}
	name := className(claim)
	var class storagev1.StorageClass
	if name != "" && name == className(before) {
		if err := s.cfg.Store.Get("storageclasses", "", name, &class); err != nil && !apierrors.IsNotFound(err) {
			return nil, err
		}
	}
	if !ptr.Deref(class.AllowVolumeExpansion, false) {
		return nil, apierrors.NewForbidden(schema.GroupResource{Resource: "persistentvolumeclaims"}, claim.Name, errCannotGrow)
	}
	return nil, nil
}

// className is the claim's StorageClass; the annotation is from before there was the
// field, and still counts first.
func className(claim *corev1.PersistentVolumeClaim) string {
	if name, ok := claim.Annotations[corev1.BetaStorageClassAnnotation]; ok {
		return name
	}
	return ptr.Deref(claim.Spec.StorageClassName, "")
}
