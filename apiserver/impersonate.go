// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/minikubelet/minikubelet/apiserver/rbac"
)

// impersonate is who a request is to be taken to come from: its sender, or the one
// that its headers name (kubectl --as), if the sender may impersonate every part of
// that identity.
func (s *Server) impersonate(r *http.Request, who *Identity) (*Identity, error) {
	as := impersonated(r.Header)
	if as == nil {
		return who, nil
	}
	if as.Name == "" {
		return nil, apierrors.NewBadRequest("impersonation of groups, a UID or extra fields needs " + authenticationv1.ImpersonateUserHeader)
	}
	check := func(group, resource, subresource, namespace, name string) error {
		return s.authorize(who, rbac.Request{
			Verb: "impersonate", Group: group, Resource: resource, Subresource: subresource, Namespace: namespace, Name: name,
		})
	}
	var err error
	namespace, name, account := serviceAccountOf(as.Name)
	if account {
		err = check("", "serviceaccounts", "", namespace, name)
	} else {
		err = check("", "users", "", "", as.Name)
	}
	for _, group := range as.Groups {
		if err == nil {
			err = check("", "groups", "", "", group)
		}
	}
	if err == nil && as.UID != "" {
		err = check(authenticationv1.SchemeGroupVersion.Group, "uids", "", "", as.UID)
	}
	for key, values := range as.Extra {
		for _, value := range values {
			if err == nil {
				err = check(authenticationv1.SchemeGroupVersion.Group, "userextras", key, "", value)
			}
		}
	}
	if err != nil {
		return nil, err
	}
	return as.completed(namespace, account), nil
}

// completed adds the groups that the name brings with it.
func (i *Identity) completed(namespace string, account bool) *Identity {
	out := *i
	if account && len(i.Groups) == 0 {
		out.Groups = serviceAccountGroups(namespace)
	}
	if out.anonymous() {
		if !slices.Contains(out.Groups, groupUnauthenticated) {
			out.Groups = append(slices.Clone(out.Groups), groupUnauthenticated)
		}
		return &out
	}
	if slices.Contains(out.Groups, groupUnauthenticated) {
		return &out
	}
	return out.authenticated()
}

// impersonated is whom the headers name; nil when they don't.
func impersonated(h http.Header) *Identity {
	as := &Identity{
		Name: h.Get(authenticationv1.ImpersonateUserHeader), UID: h.Get(authenticationv1.ImpersonateUIDHeader),
		Groups: h.Values(authenticationv1.ImpersonateGroupHeader),
	}
	for header, values := range h {
		key, ok := strings.CutPrefix(http.CanonicalHeaderKey(header), authenticationv1.ImpersonateUserExtraHeaderPrefix)
		if !ok {
			continue
		}
		if as.Extra == nil {
			as.Extra = make(map[string][]string)
		}
		if plain, err := url.PathUnescape(key); err == nil {
			key = plain
		}
		key = strings.ToLower(key)
		as.Extra[key] = append(as.Extra[key], values...)
	}
	if as.Name == "" && as.UID == "" && as.Groups == nil && as.Extra == nil {
		return nil
	}
	return as
}
