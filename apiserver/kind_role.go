// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	upstream "k8s.io/kubernetes/pkg/apis/rbac/v1"
	"k8s.io/kubernetes/pkg/apis/rbac/validation"

	"github.com/minikubelet/minikubelet/api"
	"github.com/minikubelet/minikubelet/store"
)

func roleKind() *kind {
	return declare[rbacv1.Role, rbacv1.RoleList](&kind{
		group: rbacv1.GroupName, version: "v1", name: "roles", singular: "role", kind: "Role",
		namespaced: true, verbs: allVerbs, makes: true, types: rbacv1.AddToScheme, admit: (*Server).admitRole,
		strategy: byRules(api.RulesOf(nil, upstream.Convert_v1_Role_To_rbac_Role, validation.ValidateRole, validation.ValidateRoleUpdate), nil),
		columns: []metav1.TableColumnDefinition{
			column("Name", "string", 0, "Name of the Role."),
			column("Created At", "string", 0, "When it was made."),
		},

		cells: func(o store.Object) []any {
			return []any{o.GetName(), o.GetCreationTimestamp().UTC().Format(time.RFC3339)}
		},
	})
}
