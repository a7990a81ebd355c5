// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/kubernetes/pkg/apis/rbac"
	upstream "k8s.io/kubernetes/pkg/apis/rbac/v1"
	"k8s.io/kubernetes/pkg/apis/rbac/validation"

	"github.com/minikubelet/minikubelet/api"
)

func clusterRoleKind() *kind {
	return declare[rbacv1.ClusterRole, rbacv1.ClusterRoleList](&kind{
		group: rbacv1.GroupName, version: "v1", name: "clusterroles", singular: "clusterrole", kind: "ClusterRole",
		namespaced: false, verbs: allVerbs, makes: true, types: rbacv1.AddToScheme, admit: (*Server).admitRole,
		strategy: byRules(api.RulesOf(nil, upstream.Convert_v1_ClusterRole_To_rbac_ClusterRole,
			func(r *rbac.ClusterRole) field.ErrorList {
				return validation.ValidateClusterRole(r, validation.ClusterRoleValidationOptions{})
			},
			func(r, old *rbac.ClusterRole) field.ErrorList {
				return validation.ValidateClusterRoleUpdate(r, old, validation.ClusterRoleValidationOptions{})
			}), nil),
		columns: madeColumns("ClusterRole"),
		cells:   madeCells,
	})
}
