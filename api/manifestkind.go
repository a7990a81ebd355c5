// SPDX-License-Identifier: Apache-2.0

package api

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// Meta is any object of the Kubernetes API.
type Meta interface {
	metav1.Object
	runtime.Object
}

// ManifestKind is a kind, besides Pods, that manifests may hold: what Pods need
// to run.
type ManifestKind struct {
	// Resource is its name in paths and in the store, like configmaps.
	Resource, Kind string
	Namespaced     bool
	New            func() Meta
	Rules          Rules
	secret         bool // its values are not told in messages
}

// ManifestKinds are all of them, in the order in which they have to be made. They
// are of version v1.
func ManifestKinds() []ManifestKind {
	return []ManifestKind{
		{Resource: "namespaces", Kind: "Namespace", New: func() Meta { return new(corev1.Namespace) }, Rules: NamespaceRules()},
		{Resource: "configmaps", Kind: "ConfigMap", Namespaced: true, New: func() Meta { return new(corev1.ConfigMap) }, Rules: ConfigMapRules()},
		{Resource: "secrets", Kind: "Secret", Namespaced: true, New: func() Meta { return new(corev1.Secret) }, Rules: SecretRules(), secret: true},
	}
}

// manifestKind finds one, nil when manifests cannot hold it.
func manifestKind(apiVersion, kind string) *ManifestKind {
	kinds := ManifestKinds()
	for i := range kinds {
		if kinds[i].Kind == kind && apiVersion == "v1" {
			return &kinds[i]
		}
	}
	return nil
}

// complete defaults an object.
func (k *ManifestKind) complete(o Meta) {
	if k.Namespaced && o.GetNamespace() == "" {
		o.SetNamespace(metav1.NamespaceDefault)
	}
	o.GetObjectKind().SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind(k.Kind))
	k.Rules.Default(o)
}
