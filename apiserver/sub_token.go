// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"net/http"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/minikubelet/minikubelet/store"
)

// accountToken is …/serviceaccounts/{name}/token.
func accountToken() subresource {
	return subresource{
		name: "token", verbs: []string{"create"}, kind: authenticationv1.SchemeGroupVersion.WithKind("TokenRequest"), serve: (*Server).serveToken,
	}
}

// tokenRequestKind is what the subresource takes; there is no such resource.
func tokenRequestKind() *kind {
	return &kind{
		group: authenticationv1.GroupName, version: "v1", kind: "TokenRequest",
		object: func() store.Object { return new(authenticationv1.TokenRequest) },
	}
}

func (s *Server) serveToken(w http.ResponseWriter, r *http.Request, req request) error {
	if s.cfg.Tokens == nil {
		return apierrors.NewNotFound(corev1.Resource("serviceaccounts/token"), req.name)
	}
	f, err := s.codecs.negotiate(r)
	if err != nil {
		return err
	}
	k := tokenRequestKind()
	o, warnings, err := s.decodeBody(r, k)
	if err != nil {
		return err
	}
	if _, err := dryRun(r.URL.Query()["dryRun"]); err != nil {
		return err
	}
	out, err := s.cfg.Tokens.Request(req.namespace, req.name, o.(*authenticationv1.TokenRequest))
	if err != nil {
		return err
	}
	warn(w, warnings)
	w.Header().Set("Cache-Control", "no-store")
	return s.answerObject(w, r, k, f, http.StatusCreated, out)
}
