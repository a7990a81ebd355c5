// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"net/http"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/minikubelet/minikubelet/store"
)

// reviewKind declares a kind that is answered and not stored.
func reviewKind(name, singular, kindName string, object func() store.Object, review func(*Server, *http.Request, store.Object) error) *kind {
	return &kind{
		group: authorizationv1.GroupName, version: "v1", name: name, singular: singular, kind: kindName,
		verbs: []string{"create"}, types: authorizationv1.AddToScheme, object: object, review: review,
	}
}

func reviewKinds() []*kind {
	of := func(k *kind) *kind {
		k.group, k.types = authenticationv1.GroupName, authenticationv1.AddToScheme
		return k
	}
	local := reviewKind("localsubjectaccessreviews", "localsubjectaccessreview", "LocalSubjectAccessReview",
		func() store.Object { return new(authorizationv1.LocalSubjectAccessReview) }, (*Server).reviewLocalAccess)
	local.namespaced = true
	return []*kind{
		local,
		reviewKind("selfsubjectaccessreviews", "selfsubjectaccessreview", "SelfSubjectAccessReview",
			func() store.Object { return new(authorizationv1.SelfSubjectAccessReview) }, (*Server).reviewOwnAccess),
		reviewKind("selfsubjectrulesreviews", "selfsubjectrulesreview", "SelfSubjectRulesReview",
			func() store.Object { return new(authorizationv1.SelfSubjectRulesReview) }, (*Server).reviewOwnRules),
		reviewKind("subjectaccessreviews", "subjectaccessreview", "SubjectAccessReview",
			func() store.Object { return new(authorizationv1.SubjectAccessReview) }, (*Server).reviewAccess),
		of(reviewKind("selfsubjectreviews", "selfsubjectreview", "SelfSubjectReview",
			func() store.Object { return new(authenticationv1.SelfSubjectReview) }, (*Server).reviewSelf)),
		of(reviewKind("tokenreviews", "tokenreview", "TokenReview",
			func() store.Object { return new(authenticationv1.TokenReview) }, (*Server).reviewToken)),
	}
}

// answerReview takes an object, has it reviewed and sends it back.
func (s *Server) answerReview(w http.ResponseWriter, r *http.Request, k *kind, req request) error {
	f, err := s.codecs.negotiate(r)
	if err != nil {
		return err
	}
	if _, err := dryRun(r.URL.Query()["dryRun"]); err != nil {
		return err
	}
	o, warnings, err := s.decodeBody(r, k)
	if err != nil {
		return err
	}
	if req.name != "" {
		return apierrors.NewMethodNotSupported(k.groupResource(), "create")
	}
	if err := inNamespace(k, o, req); err != nil {
		return err
	}
	if err := k.review(s, r, o); err != nil {
		return err
	}
	warn(w, warnings)
	return s.answerObject(w, r, k, f, http.StatusCreated, o)
}

// reviewSelf tells the sender who they are (kubectl auth whoami).
func (s *Server) reviewSelf(r *http.Request, o store.Object) error {
	review := o.(*authenticationv1.SelfSubjectReview)
	review.CreationTimestamp = metav1.Now()
	review.Status = authenticationv1.SelfSubjectReviewStatus{UserInfo: userInfo(caller(r))}
	return nil
}

// reviewToken tells whose a token is.
func (s *Server) reviewToken(_ *http.Request, o store.Object) error {
	review := o.(*authenticationv1.TokenReview)
	if review.Spec.Token == "" {
		return apierrors.NewBadRequest("token is required for TokenReview in authentication")
	}
	review.Status = authenticationv1.TokenReviewStatus{}
	who, audiences, err := s.tokenIdentity(review.Spec.Token, review.Spec.Audiences)
	switch {
	case err != nil:
		review.Status.Error = err.Error()
	case who != nil:
		review.Status = authenticationv1.TokenReviewStatus{Authenticated: true, User: userInfo(who), Audiences: audiences}
	}
	return nil
}

func userInfo(who *Identity) authenticationv1.UserInfo {
	info := authenticationv1.UserInfo{Username: who.Name, UID: who.UID, Groups: who.Groups}
	for key, values := range who.Extra {
		if info.Extra == nil {
			info.Extra = make(map[string]authenticationv1.ExtraValue)
		}
		info.Extra[key] = values
	}
	return info
}
