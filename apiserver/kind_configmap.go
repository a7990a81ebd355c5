// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/minikubelet/minikubelet/api"
	"github.com/minikubelet/minikubelet/store"
)

func configMapKind() *kind {
	return declare[corev1.ConfigMap, corev1.ConfigMapList](&kind{
		version: "v1", name: "configmaps", singular: "configmap", kind: "ConfigMap", short: []string{"cm"},
		namespaced: true, verbs: allVerbs,
		strategy: byRules(api.ConfigMapRules(), nil),
		types:    corev1.AddToScheme,
		columns: []metav1.TableColumnDefinition{
			column("Name", "string", 0, "Name of the ConfigMap."),
			column("Data", "string", 0, "How many keys it has."),
			column("Age", "string", 0, "Time since its creation."),
		},
		cells: func(o store.Object) []any {
			c := o.(*corev1.ConfigMap)
			return []any{c.Name, int64(len(c.Data) + len(c.BinaryData)), age(c.CreationTimestamp)}
		},
	})
}
