// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"net/http"

	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/minikubelet/minikubelet/apiserver/rbac"
	"github.com/minikubelet/minikubelet/store"
)

// reviewOwnAccess answers what the sender may do (kubectl auth can-i).
func (s *Server) reviewOwnAccess(r *http.Request, o store.Object) error {
	review := o.(*authorizationv1.SelfSubjectAccessReview)
	spec := authorizationv1.SubjectAccessReviewSpec{
		ResourceAttributes: review.Spec.ResourceAttributes, NonResourceAttributes: review.Spec.NonResourceAttributes,
	}
	if errs := checkAttributes(&spec); len(errs) > 0 {
		return apierrors.NewInvalid(authorizationv1.SchemeGroupVersion.WithKind("SelfSubjectAccessReview").GroupKind(), "", errs)
	}
	review.Status = s.accessOf(caller(r), &spec)
	return nil
}

// reviewAccess answers what somebody may do.
func (s *Server) reviewAccess(_ *http.Request, o store.Object) error {
	review := o.(*authorizationv1.SubjectAccessReview)
	if errs := append(checkSubject(&review.Spec), checkAttributes(&review.Spec)...); len(errs) > 0 {
		return apierrors.NewInvalid(authorizationv1.SchemeGroupVersion.WithKind("SubjectAccessReview").GroupKind(), "", errs)
	}
	review.Status = s.accessOf(subjectIdentity(&review.Spec), &review.Spec)
	return nil
}

// reviewLocalAccess answers what somebody may do in the namespace of the request.
func (s *Server) reviewLocalAccess(_ *http.Request, o store.Object) error {
	review := o.(*authorizationv1.LocalSubjectAccessReview)
	errs := append(checkSubject(&review.Spec), checkAttributes(&review.Spec)...)
	attributes := field.NewPath("spec", "resourceAttributes")
	if a := review.Spec.ResourceAttributes; a != nil && a.Namespace != review.Namespace {
		errs = append(errs, field.Invalid(attributes.Child("namespace"), a.Namespace, "must match metadata.namespace"))
	}
	if review.Spec.NonResourceAttributes != nil {
		errs = append(errs, field.Invalid(field.NewPath("spec", "nonResourceAttributes"), review.Spec.NonResourceAttributes, "disallowed on this kind of request"))
	}
	if len(errs) > 0 {
		return apierrors.NewInvalid(authorizationv1.SchemeGroupVersion.WithKind("LocalSubjectAccessReview").GroupKind(), "", errs)
	}
	review.Status = s.accessOf(subjectIdentity(&review.Spec), &review.Spec)
	return nil
}

func checkSubject(spec *authorizationv1.SubjectAccessReviewSpec) field.ErrorList {
	if spec.User == "" && len(spec.Groups) == 0 {
		return field.ErrorList{field.Invalid(field.NewPath("spec", "user"), spec.User, "at least one of user or group must be specified")}
	}
	return nil
}

func checkAttributes(spec *authorizationv1.SubjectAccessReviewSpec) field.ErrorList {
	path := field.NewPath("spec")
	switch {
	case spec.ResourceAttributes != nil && spec.NonResourceAttributes != nil:
		return field.ErrorList{field.Invalid(path.Child("nonResourceAttributes"), spec.NonResourceAttributes, "cannot be specified in combination with resourceAttributes")}
	case spec.ResourceAttributes == nil && spec.NonResourceAttributes == nil:
		return field.ErrorList{field.Invalid(path.Child("resourceAttributes"), spec.NonResourceAttributes, "exactly one of nonResourceAttributes or resourceAttributes must be specified")}
	}
	return nil
}

func subjectIdentity(spec *authorizationv1.SubjectAccessReviewSpec) *Identity {
	return &Identity{Name: spec.User, UID: spec.UID, Groups: spec.Groups}
}

func (s *Server) accessOf(who *Identity, spec *authorizationv1.SubjectAccessReviewSpec) authorizationv1.SubjectAccessReviewStatus {
	var want rbac.Request
	if a := spec.ResourceAttributes; a != nil {
		want = rbac.Request{Verb: a.Verb, Group: a.Group, Resource: a.Resource, Subresource: a.Subresource, Namespace: a.Namespace, Name: a.Name}
	} else {
		want = rbac.Request{Verb: spec.NonResourceAttributes.Verb, Path: spec.NonResourceAttributes.Path}
	}
	ok, reason := s.allowed(who, want)
	return authorizationv1.SubjectAccessReviewStatus{Allowed: ok, Reason: reason}
}

// reviewOwnRules lists what the sender may do in a namespace (kubectl auth can-i
// --list).
func (s *Server) reviewOwnRules(r *http.Request, o store.Object) error {
	review := o.(*authorizationv1.SelfSubjectRulesReview)
	if review.Spec.Namespace == "" {
		return apierrors.NewBadRequest("no namespace on request")
	}
	rules, err := s.policy.Rules(subjectOf(caller(r)), review.Spec.Namespace)
	review.Status = rulesStatus(rules)
	if err != nil {
		review.Status.EvaluationError = err.Error()
	}
	return nil
}

func rulesStatus(rules []rbacv1.PolicyRule) authorizationv1.SubjectRulesReviewStatus {
	status := authorizationv1.SubjectRulesReviewStatus{
		ResourceRules: []authorizationv1.ResourceRule{}, NonResourceRules: []authorizationv1.NonResourceRule{},
	}
	for _, rule := range rules {
		if len(rule.Resources) > 0 {
			status.ResourceRules = append(status.ResourceRules, authorizationv1.ResourceRule{
				Verbs: rule.Verbs, APIGroups: rule.APIGroups, Resources: rule.Resources, ResourceNames: rule.ResourceNames,
			})
		}
		if len(rule.NonResourceURLs) > 0 {
			status.NonResourceRules = append(status.NonResourceRules, authorizationv1.NonResourceRule{Verbs: rule.Verbs, NonResourceURLs: rule.NonResourceURLs})
		}
	}
	return status
}
