// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	rbacv1 "k8s.io/api/rbac/v1"
	upstream "k8s.io/kubernetes/pkg/apis/rbac/v1"
	"k8s.io/kubernetes/pkg/apis/rbac/validation"

	"github.com/minikubelet/minikubelet/api"
)

func roleKind() *kind {
	return declare[rbacv1.Role, rbacv1.RoleList](&kind{
		group: rbacv1.GroupName, version: "v1", name: "roles", singular: "role", kind: "Role",
		namespaced: true, verbs: allVerbs, makes: true, types: rbacv1.AddToScheme, admit: (*Server).admitRole,
		strategy: byRules(api.RulesOf(nil, upstream.Convert_v1_Role_To_rbac_Role, validation.ValidateRole, validation.ValidateRoleUpdate), nil),
		columns:  madeColumns("Role"),
		cells:    madeCells,
	})
}
