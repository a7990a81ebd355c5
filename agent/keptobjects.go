// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/minikubelet/minikubelet/api"
	"github.com/minikubelet/minikubelet/store"
)

// What leads to data stays in the store when its manifest is removed or its run is
// over. The next manifest that asks for it takes it over.

// annotationKept marks what stays; the value says which manifest or run it was from.
const annotationKept = "minikubelet/kept"

// hasData tells whether something in a namespace is to stay.
func hasData(s *store.Store, namespace string) (bool, error) {
	for _, kind := range api.ManifestKinds() {
		if !kind.Namespaced || !kind.KeepsData() {
			continue
		}
		list, err := objectsOf(s, &kind)
		if err != nil || slices.ContainsFunc(list, func(o api.Meta) bool { return o.GetNamespace() == namespace && kind.Stays(o) }) {
			return true, err
		}
	}
	return false, nil
}

// abandon makes an object nobody's.
func abandon(o api.Meta) {
	all := o.GetAnnotations()
	for _, key := range []string{annotationFile, annotationHash, annotationSource, annotationRun} {
		delete(all, key)
	}
	o.SetAnnotations(all)
}

// keep makes an object nobody's that the next manifest may take over.
func keep(o api.Meta, from string) {
	abandon(o)
	annotate(o, map[string]string{annotationKept: from})
}

// isKept tells an object that a manifest or a run has left for its data.
func isKept(o metav1.Object) bool {
	return o.GetAnnotations()[annotationKept] != "" || o.GetAnnotations()[annotationForeground] != ""
}
