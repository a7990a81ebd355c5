// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"encoding/json"
	"maps"
	"net/http"
	"runtime"
	"slices"
	"strings"

	discovery "k8s.io/api/apidiscovery/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/version"
)

// discoveryV2 is the media type of aggregated discovery.
const discoveryV2 = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"

// wantsV2 tells whether the client takes aggregated discovery.
func wantsV2(r *http.Request) bool {
	for clause := range strings.SplitSeq(r.Header.Get("Accept"), ",") {
		if strings.Contains(clause, "g=apidiscovery.k8s.io") && strings.Contains(clause, "v=v2;") {
			return true
		}
	}
	return false
}

func writeJSON(w http.ResponseWriter, r *http.Request, kind string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_ = writeBody(w, r, http.StatusOK, kind, data) // the client may be gone
	return nil
}

func (s *Server) root(w http.ResponseWriter, r *http.Request) error {
	paths := []string{"/api", "/apis", "/healthz", "/livez", "/openapi/v2", "/openapi/v3", "/readyz", "/version"}
	for _, g := range s.groups() {
		paths = append(paths, "/apis/"+g.Name)
	}
	for _, gv := range s.groupVersions() {
		paths = append(paths, rootOf(gv), "/openapi/v3"+rootOf(gv))
	}
	slices.Sort(paths)
	return writeJSON(w, r, "application/json", metav1.RootPaths{Paths: paths})
}

func (s *Server) version(w http.ResponseWriter, r *http.Request) error {
	parts := strings.SplitN(strings.TrimPrefix(s.cfg.Version, "v"), ".", 3)
	info := version.Info{
		GitVersion: s.cfg.Version, GitTreeState: "clean",
		GoVersion: runtime.Version(), Compiler: runtime.Compiler, Platform: runtime.GOOS + "/" + runtime.GOARCH,
	}
	if len(parts) == 3 {
		info.Major, info.Minor = parts[0], parts[1]
	}
	return writeJSON(w, r, "application/json", info)
}

// groups are the named groups, each with the versions that its kinds have, in the
// order of their names.
func (s *Server) groups() []metav1.APIGroup {
	versions := make(map[string][]string)
	for _, k := range s.kinds {
		if k.group != "" && !slices.Contains(versions[k.group], k.version) {
			versions[k.group] = append(versions[k.group], k.version)
		}
	}
	out := []metav1.APIGroup{}
	for _, name := range slices.Sorted(maps.Keys(versions)) {
		g := metav1.APIGroup{TypeMeta: metav1.TypeMeta{Kind: "APIGroup", APIVersion: "v1"}, Name: name}
		for _, v := range versions[name] {
			g.Versions = append(g.Versions, metav1.GroupVersionForDiscovery{GroupVersion: name + "/" + v, Version: v})
		}
		g.PreferredVersion = g.Versions[0]
		out = append(out, g)
	}
	return out
}

// groupVersions are all, the core's first.
func (s *Server) groupVersions() []schema.GroupVersion {
	out := []schema.GroupVersion{coreV1}
	for _, g := range s.groups() {
		for _, v := range g.Versions {
			out = append(out, schema.GroupVersion{Group: g.Name, Version: v.Version})
		}
	}
	return out
}

// rootOf is the path of a group's version.
func rootOf(gv schema.GroupVersion) string {
	if gv.Group == "" {
		return "/api/" + gv.Version
	}
	return "/apis/" + gv.Group + "/" + gv.Version
}

// describe finds what answers /apis/{group}, and for each version its resources
// and its OpenAPI document; nil when the path is none of them.
func (s *Server) describe(path string) func(http.ResponseWriter, *http.Request) error {
	for _, gv := range s.groupVersions() {
		switch path {
		case rootOf(gv):
			return func(w http.ResponseWriter, r *http.Request) error { return s.discoverVersion(w, r, gv) }
		case "/openapi/v3" + rootOf(gv):
			return func(w http.ResponseWriter, r *http.Request) error { return s.openAPIVersion(w, r, gv) }
		}
	}
	for _, g := range s.groups() {
		if path == "/apis/"+g.Name {
			return func(w http.ResponseWriter, r *http.Request) error { return writeJSON(w, r, "application/json", g) }
		}
	}
	return nil
}

func (s *Server) discoverLegacy(w http.ResponseWriter, r *http.Request) error {
	if wantsV2(r) {
		return writeJSON(w, r, discoveryV2, discoveryList(s.discoverGroupV2("", []string{"v1"})))
	}
	return writeJSON(w, r, "application/json", metav1.APIVersions{
		TypeMeta: metav1.TypeMeta{Kind: "APIVersions"}, Versions: []string{"v1"},
		ServerAddressByClientCIDRs: []metav1.ServerAddressByClientCIDR{{ClientCIDR: "0.0.0.0/0", ServerAddress: r.Host}},
	})
}

// discoverGroups tells the named groups.
func (s *Server) discoverGroups(w http.ResponseWriter, r *http.Request) error {
	groups := s.groups()
	if wantsV2(r) {
		var out []discovery.APIGroupDiscovery
		for _, g := range groups {
			var versions []string
			for _, v := range g.Versions {
				versions = append(versions, v.Version)
			}
			out = append(out, s.discoverGroupV2(g.Name, versions))
		}
		return writeJSON(w, r, discoveryV2, discoveryList(out...))
	}
	return writeJSON(w, r, "application/json", metav1.APIGroupList{
		TypeMeta: metav1.TypeMeta{Kind: "APIGroupList", APIVersion: "v1"}, Groups: groups,
	})
}

func discoveryList(groups ...discovery.APIGroupDiscovery) discovery.APIGroupDiscoveryList {
	return discovery.APIGroupDiscoveryList{
		TypeMeta: metav1.TypeMeta{Kind: "APIGroupDiscoveryList", APIVersion: "apidiscovery.k8s.io/v2"},
		Items:    append([]discovery.APIGroupDiscovery{}, groups...),
	}
}

func (s *Server) discoverGroupV2(name string, versions []string) discovery.APIGroupDiscovery {
	g := discovery.APIGroupDiscovery{ObjectMeta: metav1.ObjectMeta{Name: name}}
	for _, version := range versions {
		v := discovery.APIVersionDiscovery{Version: version, Freshness: discovery.DiscoveryFreshnessCurrent}
		for _, k := range s.kinds {
			if k.group == name && k.version == version {
				v.Resources = append(v.Resources, k.discoverV2())
			}
		}
		g.Versions = append(g.Versions, v)
	}
	return g
}

func (k *kind) discoverV2() discovery.APIResourceDiscovery {
	scope := discovery.ScopeCluster
	if k.namespaced {
		scope = discovery.ScopeNamespace
	}
	responds := func(gvk schema.GroupVersionKind) *metav1.GroupVersionKind {
		return &metav1.GroupVersionKind{Group: gvk.Group, Version: gvk.Version, Kind: gvk.Kind}
	}
	d := discovery.APIResourceDiscovery{
		Resource: k.name, SingularResource: k.singular, Scope: scope, ShortNames: k.short, Categories: k.categories, Verbs: k.verbs,
		ResponseKind: responds(k.gvk()),
	}
	for _, sub := range k.subresources {
		d.Subresources = append(d.Subresources, discovery.APISubresourceDiscovery{
			Subresource: sub.name, Verbs: sub.verbs, ResponseKind: responds(sub.kind),
		})
	}
	return d
}

func (s *Server) discoverVersion(w http.ResponseWriter, r *http.Request, gv schema.GroupVersion) error {
	list := metav1.APIResourceList{
		TypeMeta:     metav1.TypeMeta{Kind: "APIResourceList", APIVersion: "v1"},
		GroupVersion: gv.String(), APIResources: []metav1.APIResource{},
	}
	for _, k := range s.kinds {
		if k.groupVersion() != gv {
			continue
		}
		list.APIResources = append(list.APIResources, metav1.APIResource{
			Name: k.name, SingularName: k.singular, Namespaced: k.namespaced, Kind: k.kind,
			Verbs: k.verbs, ShortNames: k.short, Categories: k.categories,
		})
		for _, sub := range k.subresources {
			resource := metav1.APIResource{Name: k.name + "/" + sub.name, Namespaced: k.namespaced, Kind: sub.kind.Kind, Verbs: sub.verbs}
			if sub.kind.GroupVersion() != gv {
				resource.Group, resource.Version = sub.kind.Group, sub.kind.Version
			}
			list.APIResources = append(list.APIResources, resource)
		}
	}
	return writeJSON(w, r, "application/json", list)
}
