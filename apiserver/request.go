// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"net/http"
	"strings"
)

// request is what a path and a method ask for.
type request struct {
	verb                                   string // as RBAC names it
	resource, namespace, name, subresource string
}

// parse takes a resource's path apart:
//
//	/api/v1[/watch]/namespaces/{namespace}/{resource}[/{name}[/{subresource}]]
//	/api/v1[/watch]/{resource}[/{name}[/{subresource}]]
//
// where namespaces themselves are of the second form.
func parse(r *http.Request) (request, error) {
	rest, ok := strings.CutPrefix(r.URL.Path, "/api/v1/")
	if !ok {
		return request{}, notFoundPath()
	}
	parts := strings.Split(strings.TrimSuffix(rest, "/"), "/")
	watch := parts[0] == "watch"
	if watch {
		parts = parts[1:]
	}
	var req request
	if len(parts) >= 3 && parts[0] == "namespaces" && parts[2] != "status" && parts[2] != "finalize" {
		req.namespace, parts = parts[1], parts[2:]
		if req.namespace == "" {
			return request{}, notFoundPath()
		}
	}
	if len(parts) == 0 || len(parts) > 3 {
		return request{}, notFoundPath()
	}
	req.resource = parts[0]
	if len(parts) > 1 {
		req.name = parts[1]
	}
	if len(parts) > 2 {
		req.subresource = parts[2]
	}
	for _, p := range parts {
		if p == "" || p == "." || p == ".." {
			return request{}, notFoundPath()
		}
	}
	req.verb = verb(r, req.name != "", watch)
	return req, nil
}

func verb(r *http.Request, named, watch bool) string {
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		switch {
		case watch || isTrue(r.URL.Query().Get("watch")):
			return "watch"
		case named:
			return "get"
		}
		return "list"
	case http.MethodPost:
		return "create"
	case http.MethodPut:
		return "update"
	case http.MethodPatch:
		return "patch"
	case http.MethodDelete:
		if named {
			return "delete"
		}
		return "deletecollection"
	}
	return strings.ToLower(r.Method)
}
