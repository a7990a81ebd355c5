// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"

	"github.com/minikubelet/minikubelet/api"
	"github.com/minikubelet/minikubelet/store"
)

func secretKind() *kind {
	return declare[corev1.Secret, corev1.SecretList](&kind{
		version: "v1", name: "secrets", singular: "secret", kind: "Secret",
		namespaced: true, verbs: allVerbs,
		strategy: byRules(api.SecretRules(), func(o, old store.Object) {
			if s, ok := o.(*corev1.Secret); ok && s.Type == "" && old != nil {
				s.Type = old.(*corev1.Secret).Type
			}
		}),
		types: corev1.AddToScheme,
		columns: []metav1.TableColumnDefinition{
			column("Name", "string", 0, "Name of the Secret."),
			column("Type", "string", 0, "What its data are for."),
			column("Data", "string", 0, "How many keys it has."),
			column("Age", "string", 0, "Time since its creation."),
		},
		cells: func(o store.Object) []any {
			s := o.(*corev1.Secret)
			return []any{s.Name, string(s.Type), int64(len(s.Data)), age(s.CreationTimestamp)}
		},
		fields: func(o store.Object) fields.Set { return fields.Set{"type": string(o.(*corev1.Secret).Type)} },
	})
}
