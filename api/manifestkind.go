// SPDX-License-Identifier: Apache-2.0

package api

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	certificatesv1beta1 "k8s.io/api/certificates/v1beta1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Meta is any object of the Kubernetes API.
type Meta interface {
	metav1.Object
	runtime.Object
}

// ManifestKind is a kind, besides Pods, that manifests may hold: what Pods need
// to run.
type ManifestKind struct {
	// Group is that of the API, empty for the core one, and Version is empty for v1.
	Group, Version string
	// Resource is its name in paths and in the store, like configmaps.
	Resource, Kind string
	Namespaced     bool
	New            func() Meta
	Rules          Rules
	secret         bool // its values are not told in messages
	// keep is set for kinds that lead to data: it gives an object of a manifest what
	// the node has added to the stored one, and says why it cannot take its place.
	keep func(o, have Meta) field.ErrorList
}

// ManifestKinds are all of them, in the order in which they have to be made.
func ManifestKinds() []ManifestKind {
	return []ManifestKind{
		{Resource: "namespaces", Kind: "Namespace", New: func() Meta { return new(corev1.Namespace) }, Rules: NamespaceRules()},
		{Resource: "configmaps", Kind: "ConfigMap", Namespaced: true, New: func() Meta { return new(corev1.ConfigMap) }, Rules: ConfigMapRules()},
		{Resource: "secrets", Kind: "Secret", Namespaced: true, New: func() Meta { return new(corev1.Secret) }, Rules: SecretRules(), secret: true},
		{Group: certificatesv1beta1.GroupName, Version: "v1beta1", Resource: "clustertrustbundles", Kind: "ClusterTrustBundle",
			New: func() Meta { return new(certificatesv1beta1.ClusterTrustBundle) }, Rules: ClusterTrustBundleRules()},
		{Group: storagev1.GroupName, Resource: "storageclasses", Kind: "StorageClass", New: func() Meta { return new(storagev1.StorageClass) }, Rules: StorageClassRules()},
		{Resource: "persistentvolumes", Kind: "PersistentVolume", New: func() Meta { return new(corev1.PersistentVolume) }, Rules: PersistentVolumeRules(), keep: keepVolume},
		{Resource: "persistentvolumeclaims", Kind: "PersistentVolumeClaim", Namespaced: true, New: func() Meta { return new(corev1.PersistentVolumeClaim) },
			Rules: PersistentVolumeClaimRules(), keep: keepClaim},
	}
}

// manifestKind finds one, nil when manifests cannot hold it.
func manifestKind(apiVersion, kind string) *ManifestKind {
	kinds := ManifestKinds()
	for i := range kinds {
		if kinds[i].Kind == kind && apiVersion == kinds[i].groupVersion().String() {
			return &kinds[i]
		}
	}
	return nil
}

// GroupResource is the kind's name for kubectl: with its version, unless that is v1,
// and its group, unless that is the core one.
func (k *ManifestKind) GroupResource() string {
	resource := k.Resource
	if k.Version != "" {
		resource += "." + k.Version
	}
	return schema.GroupResource{Group: k.Group, Resource: resource}.String()
}

func (k *ManifestKind) groupVersion() schema.GroupVersion {
	return schema.GroupVersion{Group: k.Group, Version: cmp.Or(k.Version, "v1")}
}

// complete defaults an object.
func (k *ManifestKind) complete(o Meta) {
	if k.Namespaced && o.GetNamespace() == "" {
		o.SetNamespace(metav1.NamespaceDefault)
	}
	o.GetObjectKind().SetGroupVersionKind(k.groupVersion().WithKind(k.Kind))
	k.Rules.Default(o)
}

// AnnotationWhenRemoved says what becomes of a PersistentVolumeClaim or
// PersistentVolume when its manifest is removed, or its foreground run ends: Retain,
// the default, or Delete.
const AnnotationWhenRemoved = "minikubelet/when-removed"

// KeepsData tells a kind whose objects lead to data.
func (k *ManifestKind) KeepsData() bool { return k.keep != nil }

// Stays tells whether an object is to stay when its manifest goes: nobody is to lose
// data by removing a file.
func (k *ManifestKind) Stays(o Meta) bool {
	return k.KeepsData() && o.GetAnnotations()[AnnotationWhenRemoved] != string(corev1.PersistentVolumeReclaimDelete)
}

// controllers are the beginnings of the annotations by which Kubernetes' controllers
// of volumes remember what they have done.
var controllers = []string{"pv.kubernetes.io/", "volume.kubernetes.io/", "volume.beta.kubernetes.io/"}

// TakeOver completes an object of a manifest so that it can take the place of the
// stored one of its name, or says why it cannot. have is not changed.
func (k *ManifestKind) TakeOver(o, have Meta) field.ErrorList {
	o.SetUID(have.GetUID())
	o.SetResourceVersion(have.GetResourceVersion())
	o.SetCreationTimestamp(have.GetCreationTimestamp())
	var errs field.ErrorList
	if k.keep != nil {
		o.SetFinalizers(have.GetFinalizers())
		errs = k.keep(o, have)
		all := maps.Clone(o.GetAnnotations())
		for key, value := range have.GetAnnotations() {
			if _, set := all[key]; !set && slices.ContainsFunc(controllers, func(prefix string) bool { return strings.HasPrefix(key, prefix) }) {
				if all == nil {
					all = make(map[string]string)
				}
				all[key] = value
			}
		}
		o.SetAnnotations(all)
	}
	k.Rules.Default(o)
	return append(errs, k.Rules.Update(o, have)...)
}

// checkMeta is what this node asks of an object beyond Kubernetes' rules.
func (k *ManifestKind) checkMeta(o Meta) field.ErrorList {
	switch value, set := o.GetAnnotations()[AnnotationWhenRemoved]; {
	case !k.KeepsData() || !set || value == string(corev1.PersistentVolumeReclaimRetain) || value == string(corev1.PersistentVolumeReclaimDelete):
		return nil
	default:
		return field.ErrorList{field.NotSupported(field.NewPath("metadata", "annotations").Key(AnnotationWhenRemoved), value,
			[]corev1.PersistentVolumeReclaimPolicy{corev1.PersistentVolumeReclaimRetain, corev1.PersistentVolumeReclaimDelete})}
	}
}
