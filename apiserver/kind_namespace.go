// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/minikubelet/minikubelet/store"
)

func namespaceKind() *kind {
	return &kind{
		version: "v1", name: "namespaces", singular: "namespace", kind: "Namespace", short: []string{"ns"}, verbs: readVerbs,
		types:  corev1.AddToScheme,
		object: func() store.Object { return new(corev1.Namespace) },
		list:   func() runtime.Object { return new(corev1.NamespaceList) },
		columns: []metav1.TableColumnDefinition{
			column("Name", "string", 0, "Name of the namespace."),
			column("Status", "string", 0, "Active or Terminating."),
			column("Age", "string", 0, "Time since its creation."),
		},
		cells: func(o store.Object) []any {
			return []any{o.GetName(), string(o.(*corev1.Namespace).Status.Phase), age(o.GetCreationTimestamp())}
		},
		fields: func(o store.Object) fields.Set {
			return fields.Set{"status.phase": string(o.(*corev1.Namespace).Status.Phase)}
		},
	}
}
