// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"net/http"
	"strings"
)

// request is what a path and a method ask for.
type request struct {
	verb                                   string // as RBAC names it
	group, version                         string
	resource, namespace, name, subresource string
	// path is what follows a subresource's name, with its slash.
	path string
}

// parse takes a resource's path apart:
//
//	{root}[/watch]/namespaces/{namespace}/{resource}[/{name}[/{subresource}[/{path}]]]
//	{root}[/watch]/{resource}[/{name}[/{subresource}[/{path}]]]
//
// where the root is /api/v1 or /apis/{group}/{version}, and namespaces themselves
// are of the second form.
func parse(r *http.Request) (request, error) {
	req, parts, ok := parseRoot(r.URL.Path)
	if !ok {
		return request{}, notFoundPath()
	}
	watch := parts[0] == "watch"
	if watch {
		parts = parts[1:]
	}
	if len(parts) >= 3 && parts[0] == "namespaces" && parts[2] != "status" && parts[2] != "finalize" {
		req.namespace, parts = parts[1], parts[2:]
		if req.namespace == "" {
			return request{}, notFoundPath()
		}
	}
	if len(parts) == 0 {
		return request{}, notFoundPath()
	}
	req.resource = parts[0]
	if len(parts) > 1 {
		req.name = parts[1]
	}
	if len(parts) > 2 {
		req.subresource = parts[2]
	}
	if len(parts) > 3 {
		req.path = "/" + strings.Join(parts[3:], "/")
	}
	for _, p := range parts[:min(len(parts), 3)] {
		if p == "" || p == "." || p == ".." {
			return request{}, notFoundPath()
		}
	}
	req.verb = verb(r, req, watch)
	return req, nil
}

// parseRoot reads the group and the version, and returns the parts behind them.
func parseRoot(path string) (req request, parts []string, ok bool) {
	if rest, legacy := strings.CutPrefix(path, "/api/v1/"); legacy {
		return request{version: "v1"}, strings.Split(strings.TrimSuffix(rest, "/"), "/"), true
	}
	rest, ok := strings.CutPrefix(path, "/apis/")
	parts = strings.Split(strings.TrimSuffix(rest, "/"), "/")
	if !ok || len(parts) < 3 || parts[0] == "" {
		return request{}, nil, false
	}
	return request{group: parts[0], version: parts[1]}, parts[2:], true
}

func verb(r *http.Request, req request, watch bool) string {
	named := req.name != ""
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		switch {
		case req.subresource == "" && (watch || isTrue(r.URL.Query().Get("watch"))):
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
