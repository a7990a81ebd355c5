// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	nodev1 "k8s.io/api/node/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	upstream "k8s.io/kubernetes/pkg/apis/node/v1"
	"k8s.io/kubernetes/pkg/apis/node/validation"

	"github.com/minikubelet/minikubelet/api"
	"github.com/minikubelet/minikubelet/store"
)

func runtimeClassKind() *kind {
	return declare[nodev1.RuntimeClass, nodev1.RuntimeClassList](&kind{
		group: nodev1.GroupName, version: "v1", name: "runtimeclasses", singular: "runtimeclass", kind: "RuntimeClass",
		verbs: allVerbs, makes: true, versioned: true, types: nodev1.AddToScheme,
		strategy: byRules(api.RulesOf(nil, upstream.Convert_v1_RuntimeClass_To_node_RuntimeClass,
			validation.ValidateRuntimeClass, validation.ValidateRuntimeClassUpdate), nil),
		columns: []metav1.TableColumnDefinition{
			column("Name", "string", 0, "Name of the RuntimeClass."),
			column("Handler", "string", 0, "The runtime that it stands for."),
			column("Age", "string", 0, "Time since its creation."),
		},

		cells: func(o store.Object) []any {
			return []any{o.GetName(), o.(*nodev1.RuntimeClass).Handler, age(o.GetCreationTimestamp())}
		},
	})
}
