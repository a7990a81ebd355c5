// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	rbacv1 "k8s.io/api/rbac/v1"
	upstream "k8s.io/kubernetes/pkg/apis/rbac/v1"
	"k8s.io/kubernetes/pkg/apis/rbac/validation"

	"github.com/minikubelet/minikubelet/api"
	"github.com/minikubelet/minikubelet/store"
)

func clusterRoleBindingKind() *kind {
	return declare[rbacv1.ClusterRoleBinding, rbacv1.ClusterRoleBindingList](&kind{
		group: rbacv1.GroupName, version: "v1", name: "clusterrolebindings", singular: "clusterrolebinding", kind: "ClusterRoleBinding",
		namespaced: false, verbs: allVerbs, makes: true, types: rbacv1.AddToScheme, admit: (*Server).admitBinding,
		strategy: byRules(api.RulesOf(upstream.SetObjectDefaults_ClusterRoleBinding, upstream.Convert_v1_ClusterRoleBinding_To_rbac_ClusterRoleBinding,
			validation.ValidateClusterRoleBinding, validation.ValidateClusterRoleBindingUpdate), nil),
		columns: bindingColumns("ClusterRoleBinding"),
		cells: func(o store.Object) []any {
			b := o.(*rbacv1.ClusterRoleBinding)
			return bindingCells(b, b.RoleRef, b.Subjects)
		},
	})
}
