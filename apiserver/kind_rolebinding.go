// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	upstream "k8s.io/kubernetes/pkg/apis/rbac/v1"
	"k8s.io/kubernetes/pkg/apis/rbac/validation"

	"github.com/minikubelet/minikubelet/api"
	"github.com/minikubelet/minikubelet/store"
)

func roleBindingKind() *kind {
	return declare[rbacv1.RoleBinding, rbacv1.RoleBindingList](&kind{
		group: rbacv1.GroupName, version: "v1", name: "rolebindings", singular: "rolebinding", kind: "RoleBinding",
		namespaced: true, verbs: allVerbs, makes: true, types: rbacv1.AddToScheme, admit: (*Server).admitBinding,
		strategy: byRules(api.RulesOf(upstream.SetObjectDefaults_RoleBinding, upstream.Convert_v1_RoleBinding_To_rbac_RoleBinding,
			validation.ValidateRoleBinding, validation.ValidateRoleBindingUpdate), nil),
		columns: bindingColumns("RoleBinding"),
		cells: func(o store.Object) []any {
			b := o.(*rbacv1.RoleBinding)
			return bindingCells(b, b.RoleRef, b.Subjects)
		},
	})
}

func bindingColumns(kind string) []metav1.TableColumnDefinition {
	return []metav1.TableColumnDefinition{
		column("Name", "string", 0, "Name of the "+kind+"."),
		column("Role", "string", 0, "What it grants."),
		column("Age", "string", 0, "Time since its creation."),
		column("Users", "string", 1, "Users that it grants it to."),
		column("Groups", "string", 1, "Groups that it grants it to."),
		column("ServiceAccounts", "string", 1, "ServiceAccounts that it grants it to."),
	}
}

func bindingCells(o store.Object, role rbacv1.RoleRef, subjects []rbacv1.Subject) []any {
	var users, groups, accounts []string
	for _, s := range subjects {
		switch s.Kind {
		case rbacv1.UserKind:
			users = append(users, s.Name)
		case rbacv1.GroupKind:
			groups = append(groups, s.Name)
		case rbacv1.ServiceAccountKind:
			accounts = append(accounts, s.Namespace+"/"+s.Name)
		}
	}
	return []any{
		o.GetName(), role.Kind + "/" + role.Name, age(o.GetCreationTimestamp()),
		strings.Join(users, ", "), strings.Join(groups, ", "), strings.Join(accounts, ", "),
	}
}
