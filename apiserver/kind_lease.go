// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	upstream "k8s.io/kubernetes/pkg/apis/coordination/v1"
	"k8s.io/kubernetes/pkg/apis/coordination/validation"
	"k8s.io/utils/ptr"

	"github.com/minikubelet/minikubelet/api"
	"github.com/minikubelet/minikubelet/store"
)

func leaseKind() *kind {
	return declare[coordinationv1.Lease, coordinationv1.LeaseList](&kind{
		group: coordinationv1.GroupName, version: "v1", name: "leases", singular: "lease", kind: "Lease",
		namespaced: true, verbs: allVerbs, makes: true, versioned: true, types: coordinationv1.AddToScheme,
		strategy: byRules(api.RulesOf(nil, upstream.Convert_v1_Lease_To_coordination_Lease, validation.ValidateLease, validation.ValidateLeaseUpdate), nil),
		columns: []metav1.TableColumnDefinition{
			column("Name", "string", 0, "Name of the Lease."),
			column("Holder", "string", 0, "Who holds it."),
			column("Age", "string", 0, "Time since its creation."),
		},

		cells: func(o store.Object) []any {
			return []any{o.GetName(), ptr.Deref(o.(*coordinationv1.Lease).Spec.HolderIdentity, ""), age(o.GetCreationTimestamp())}
		},
	})
}
