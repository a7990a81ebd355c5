// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"errors"
	"net/http"

	rbacv1 "k8s.io/api/rbac/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/minikubelet/minikubelet/apiserver/rbac"
	"github.com/minikubelet/minikubelet/store"
)

// Nobody gets more rights by writing roles and bindings than they have: who may
// write a role needs every right in it, or the verb escalate on roles; who may
// write a binding needs every right of its role, or the verb bind on that role.

// admitRole checks the rules of a Role or a ClusterRole.
func (s *Server) admitRole(r *http.Request, o, old store.Object) ([]string, error) {
	who := caller(r)
	if who.admin() || old != nil && sameRights(o, old) {
		return nil, nil
	}
	want := rbac.Request{Verb: "escalate", Group: rbacv1.GroupName, Resource: rbac.ClusterRoles, Namespace: o.GetNamespace()}
	if old != nil { // of a new one the path has no name
		want.Name = o.GetName()
	}
	var rules []rbacv1.PolicyRule
	aggregates := false
	switch role := o.(type) {
	case *rbacv1.Role:
		want.Resource, rules = rbac.Roles, role.Rules
	case *rbacv1.ClusterRole:
		before, _ := old.(*rbacv1.ClusterRole)
		rules, aggregates = role.Rules, role.AggregationRule != nil || before != nil && before.AggregationRule != nil
	}
	if ok, _ := s.allowed(who, want); ok {
		return nil, nil
	}
	group := rbacv1.Resource(want.Resource)
	if err := s.policy.Covers(subjectOf(who), o.GetNamespace(), rules); err != nil {
		return nil, apierrors.NewForbidden(group, o.GetName(), err)
	}
	all := []rbacv1.PolicyRule{
		{Verbs: []string{"*"}, APIGroups: []string{"*"}, Resources: []string{"*"}}, {Verbs: []string{"*"}, NonResourceURLs: []string{"*"}},
	}
	if aggregates && s.policy.Covers(subjectOf(who), "", all) != nil {
		return nil, apierrors.NewForbidden(group, o.GetName(), errors.New("must have cluster-admin privileges to use the aggregationRule"))
	}
	return nil, nil
}

// admitBinding checks the role of a RoleBinding or a ClusterRoleBinding.
func (s *Server) admitBinding(r *http.Request, o, old store.Object) ([]string, error) {
	who := caller(r)
	if who.admin() || old != nil && sameRights(o, old) {
		return nil, nil
	}
	var role rbacv1.RoleRef
	resource := rbac.RoleBindings
	switch b := o.(type) {
	case *rbacv1.RoleBinding:
		role = b.RoleRef
	case *rbacv1.ClusterRoleBinding:
		role, resource = b.RoleRef, rbac.ClusterRoleBindings
	}
	want := rbac.Request{Verb: "bind", Group: rbacv1.GroupName, Resource: rbac.ClusterRoles, Namespace: o.GetNamespace(), Name: role.Name}
	if role.Kind == "Role" {
		want.Resource = rbac.Roles
	}
	if ok, _ := s.allowed(who, want); ok {
		return nil, nil
	}
	rules, err := s.policy.RulesOf(role, o.GetNamespace())
	if err != nil {
		return nil, apierrors.NewNotFound(rbacv1.Resource(want.Resource), role.Name)
	}
	if err := s.policy.Covers(subjectOf(who), o.GetNamespace(), rules); err != nil {
		return nil, apierrors.NewForbidden(rbacv1.Resource(resource), o.GetName(), err)
	}
	return nil, nil
}

// sameRights tells whether an object differs from the one that it replaces in
// nothing but what lets it be collected.
func sameRights(o, old store.Object) bool {
	a, b := o.DeepCopyObject().(store.Object), old.DeepCopyObject().(store.Object)
	for _, o := range []store.Object{a, b} {
		o.SetOwnerReferences(nil)
		o.SetFinalizers(nil)
		o.SetManagedFields(nil)
		o.SetResourceVersion("")
		o.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{}) // protobuf has it beside the object
	}
	return apiequality.Semantic.DeepEqual(a, b)
}

func subjectOf(who *Identity) rbac.Subject { return rbac.Subject{Name: who.Name, Groups: who.Groups} }
