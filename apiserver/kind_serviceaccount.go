// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	upstream "k8s.io/kubernetes/pkg/apis/core/v1"
	"k8s.io/kubernetes/pkg/apis/core/validation"

	"github.com/minikubelet/minikubelet/api"
	"github.com/minikubelet/minikubelet/store"
)

func serviceAccountKind() *kind {
	return declare[corev1.ServiceAccount, corev1.ServiceAccountList](&kind{
		version: "v1", name: "serviceaccounts", singular: "serviceaccount", kind: "ServiceAccount", short: []string{"sa"},
		namespaced: true, verbs: allVerbs, types: corev1.AddToScheme, subresources: []subresource{accountToken()},
		strategy: byRules(api.RulesOf(nil, upstream.Convert_v1_ServiceAccount_To_core_ServiceAccount,
			validation.ValidateServiceAccount, validation.ValidateServiceAccountUpdate), nil),
		columns: []metav1.TableColumnDefinition{
			column("Name", "string", 0, "Name of the ServiceAccount."),
			column("Age", "string", 0, "Time since its creation."),
		},

		cells: func(o store.Object) []any { return []any{o.GetName(), age(o.GetCreationTimestamp())} },
	})
}
