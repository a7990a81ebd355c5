// SPDX-License-Identifier: Apache-2.0

package claims

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/utils/ptr"

	"github.com/minikubelet/minikubelet/store"
)

// ClassName is the class that the node makes.
const ClassName = "local-path"

const annDefaultClass = "storageclass.kubernetes.io/is-default-class"

// PutClass makes the class local-path, the default one, unless there is one of the
// name.
func PutClass(s *store.Store) error {
	err := s.Create(classes, &storagev1.StorageClass{
		TypeMeta: metav1.TypeMeta{APIVersion: "storage.k8s.io/v1", Kind: "StorageClass"},
		ObjectMeta: metav1.ObjectMeta{
			Name: ClassName, UID: uuid.NewUUID(), CreationTimestamp: metav1.Now().Rfc3339Copy(), Annotations: map[string]string{annDefaultClass: "true"},
		},
		Provisioner: Provisioner, ReclaimPolicy: ptr.To(corev1.PersistentVolumeReclaimDelete),
		VolumeBindingMode: ptr.To(storagev1.VolumeBindingWaitForFirstConsumer), AllowVolumeExpansion: ptr.To(false),
	})
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}

// defaultClass is the newest one that is marked so, as in Kubernetes.
func (c *controller) defaultClass() *storagev1.StorageClass {
	var found *storagev1.StorageClass
	for _, class := range c.seen.classes {
		if class.Annotations[annDefaultClass] == "true" && (found == nil || found.CreationTimestamp.Before(&class.CreationTimestamp)) {
			found = class
		}
	}
	return found
}

func ref(version, kind string, o metav1.Object) corev1.ObjectReference {
	return corev1.ObjectReference{
		APIVersion: version, Kind: kind, Namespace: o.GetNamespace(), Name: o.GetName(), UID: o.GetUID(), ResourceVersion: o.GetResourceVersion(),
	}
}

func setAnnotation(o metav1.Object, key, value string) {
	all := o.GetAnnotations()
	if all == nil {
		all = make(map[string]string)
	}
	all[key] = value
	o.SetAnnotations(all)
}

func setPhase(pv *corev1.PersistentVolume, phase corev1.PersistentVolumePhase) {
	if pv.Status.Phase != phase {
		pv.Status.Phase, pv.Status.LastPhaseTransitionTime = phase, ptr.To(metav1.Now().Rfc3339Copy())
	}
}

// update writes what has changed.
func update(s *store.Store, resource string, o, before store.Object) error {
	if equality.Semantic.DeepEqual(o, before) {
		return nil
	}
	return s.Update(resource, o)
}

// unprotect takes the finalizer from an object that is deleted; the object goes with
// its last one.
func unprotect(s *store.Store, resource string, o store.Object, finalizer string) error {
	left := slices.DeleteFunc(slices.Clone(o.GetFinalizers()), func(f string) bool { return f == finalizer })
	switch {
	case len(left) == 0:
		return s.Delete(resource, o)
	case len(left) == len(o.GetFinalizers()):
		return nil
	}
	o.SetFinalizers(left)
	return s.Update(resource, o)
}
