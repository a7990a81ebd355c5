// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"net/http"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/minikubelet/minikubelet/store"
)

// statusBy is the subresource status of a kind: what is written through it changes
// the status alone, which update sees to.
func (k *kind) statusBy(update func(o, old store.Object) (field.ErrorList, []string)) subresource {
	as := *k
	as.strategy = &strategy{update: update, open: true}
	return subresource{
		name: "status", verbs: []string{"get", "patch", "update"}, kind: k.gvk(),
		serve: func(s *Server, w http.ResponseWriter, r *http.Request, req request) error {
			return s.servePart(w, r, &as, req)
		},
	}
}

// servePart is for subresources that are the object itself, with another strategy.
func (s *Server) servePart(w http.ResponseWriter, r *http.Request, k *kind, req request) error {
	switch req.verb {
	case "patch":
		return s.patch(w, r, k, req)
	case "update":
		return s.update(w, r, k, req)
	}
	return s.get(w, r, k, req)
}
