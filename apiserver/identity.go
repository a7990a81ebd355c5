// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"context"
	"net/http"
	"slices"
	"strings"
)

// Names of users and groups that Kubernetes gives a meaning.
const (
	userAnonymous        = "system:anonymous"
	groupAuthenticated   = "system:authenticated"
	groupUnauthenticated = "system:unauthenticated"
	groupMasters         = "system:masters"
	serviceAccountUsers  = "system:serviceaccount:" // and namespace:name
	groupServiceAccounts = "system:serviceaccounts" // and those of one namespace: ":" and its name
	extraCredential      = "authentication.kubernetes.io/credential-id"
	socketAdmin          = "minikubelet-admin"
)

// Identity is who sends a request. It is shared: nobody may change one.
type Identity struct {
	Name, UID string
	Groups    []string
	Extra     map[string][]string
}

// socketIdentity is whoever can open the socket.
func socketIdentity() *Identity {
	return &Identity{Name: socketAdmin, Groups: []string{groupMasters, groupAuthenticated}}
}

func anonymousIdentity() *Identity {
	return &Identity{Name: userAnonymous, Groups: []string{groupUnauthenticated}}
}

// admin may do everything.
func (i *Identity) admin() bool { return slices.Contains(i.Groups, groupMasters) }

func (i *Identity) anonymous() bool { return i.Name == userAnonymous }

// authenticated adds the group of all that have proved who they are.
func (i *Identity) authenticated() *Identity {
	if i.anonymous() || slices.Contains(i.Groups, groupAuthenticated) {
		return i
	}
	out := *i
	out.Groups = append(slices.Clone(i.Groups), groupAuthenticated)
	return &out
}

// serviceAccountOf takes a user name like system:serviceaccount:default:builder
// apart.
func serviceAccountOf(user string) (namespace, name string, ok bool) {
	rest, ok := strings.CutPrefix(user, serviceAccountUsers)
	if !ok {
		return "", "", false
	}
	namespace, name, ok = strings.Cut(rest, ":")
	return namespace, name, ok && namespace != "" && name != "" && !strings.Contains(name, ":")
}

// serviceAccountGroups are those of all ServiceAccounts of a namespace.
func serviceAccountGroups(namespace string) []string {
	return []string{groupServiceAccounts, groupServiceAccounts + ":" + namespace}
}

type identityKey struct{}

// as returns the request with its sender.
func as(r *http.Request, who *Identity) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), identityKey{}, who))
}

// caller is who sent a request; nobody in particular when that is not known.
func caller(r *http.Request) *Identity {
	if who, ok := r.Context().Value(identityKey{}).(*Identity); ok {
		return who
	}
	return anonymousIdentity()
}
