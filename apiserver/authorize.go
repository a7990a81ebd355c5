// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/minikubelet/minikubelet/apiserver/rbac"
)

// wanted is what a request asks for, in the words of RBAC: something of a resource,
// as it was parsed, or a path.
func wanted(r *http.Request, req request, resource bool) rbac.Request {
	if !resource {
		return rbac.Request{Verb: strings.ToLower(r.Method), Path: r.URL.Path}
	}
	want := rbac.Request{
		Verb: req.verb, Group: req.group, Resource: req.resource, Subresource: req.subresource,
		Namespace: req.namespace, Name: req.name,
	}
	if want.Resource == "namespaces" && want.Namespace == "" {
		want.Namespace = want.Name // so that a role in a namespace may be about itself
	}
	if want.Name == "" && (want.Verb == "list" || want.Verb == "watch" || want.Verb == "deletecollection") {
		want.Name = onlyName(r.URL.Query().Get("fieldSelector"))
	}
	return want
}

// onlyName is the name of the one object that a field selector selects, for rules
// that have resourceNames.
func onlyName(selector string) string {
	s, err := fields.ParseSelector(selector)
	if err != nil {
		return ""
	}
	name, _ := s.RequiresExactMatch("metadata.name")
	return name
}

// public paths are for everybody.
func public(r *http.Request) bool {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return false
	}
	switch strings.TrimSuffix(r.URL.Path, "/") {
	case "/healthz", "/livez", "/readyz", "/version":
		return true
	}
	return false
}

// allowed tells whether somebody may do something, and why or why not.
// Administrators may do everything; who is anonymous may do nothing, whatever is
// bound to that name.
func (s *Server) allowed(who *Identity, want rbac.Request) (bool, string) {
	switch {
	case who.admin():
		return true, ""
	case who.anonymous():
		return false, ""
	}
	return s.policy.Allows(subjectOf(who), want)
}

// authorize fails with Kubernetes' error when somebody may not do something.
func (s *Server) authorize(who *Identity, want rbac.Request) error {
	ok, reason := s.allowed(who, want)
	if ok {
		return nil
	}
	return denied(who, want, reason)
}

func denied(who *Identity, want rbac.Request, reason string) error {
	clean := strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")
	text := clean.Replace(denial(who, want))
	if reason != "" {
		text += ": " + reason
	}
	return apierrors.NewForbidden(schema.GroupResource{Group: want.Group, Resource: want.Resource}, want.Name, errors.New(text))
}

func denial(who *Identity, want rbac.Request) string {
	if want.Resource == "" {
		return fmt.Sprintf("User %q cannot %s path %q", who.Name, want.Verb, want.Path)
	}
	resource, scope := want.Resource, "at the cluster scope"
	if want.Subresource != "" {
		resource += "/" + want.Subresource
	}
	if want.Namespace != "" {
		scope = fmt.Sprintf("in the namespace %q", want.Namespace)
	}
	return fmt.Sprintf("User %q cannot %s resource %q in API group %q %s", who.Name, want.Verb, resource, want.Group, scope)
}
