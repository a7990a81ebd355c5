// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"encoding/json"
	"net/http"
	"runtime"
	"strings"

	discovery "k8s.io/api/apidiscovery/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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
	return writeBody(w, r, http.StatusOK, kind, data)
}

func (s *Server) root(w http.ResponseWriter, r *http.Request) error {
	return writeJSON(w, r, "application/json", metav1.RootPaths{Paths: []string{
		"/api", "/api/v1", "/apis", "/healthz", "/livez", "/openapi/v3", "/openapi/v3/api/v1", "/readyz", "/version",
	}})
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

func (s *Server) discoverLegacy(w http.ResponseWriter, r *http.Request) error {
	if wantsV2(r) {
		group := discovery.APIGroupDiscovery{Versions: []discovery.APIVersionDiscovery{{Version: "v1", Freshness: discovery.DiscoveryFreshnessCurrent}}}
		for _, k := range s.kinds {
			group.Versions[0].Resources = append(group.Versions[0].Resources, k.discoverV2())
		}
		return writeJSON(w, r, discoveryV2, discoveryList(group))
	}
	return writeJSON(w, r, "application/json", metav1.APIVersions{
		TypeMeta: metav1.TypeMeta{Kind: "APIVersions"}, Versions: []string{"v1"},
		ServerAddressByClientCIDRs: []metav1.ServerAddressByClientCIDR{{ClientCIDR: "0.0.0.0/0", ServerAddress: r.Host}},
	})
}

// discoverGroups tells the named groups: there are none.
func (s *Server) discoverGroups(w http.ResponseWriter, r *http.Request) error {
	if wantsV2(r) {
		return writeJSON(w, r, discoveryV2, discoveryList())
	}
	return writeJSON(w, r, "application/json", metav1.APIGroupList{
		TypeMeta: metav1.TypeMeta{Kind: "APIGroupList", APIVersion: "v1"}, Groups: []metav1.APIGroup{},
	})
}

func discoveryList(groups ...discovery.APIGroupDiscovery) discovery.APIGroupDiscoveryList {
	return discovery.APIGroupDiscoveryList{
		TypeMeta: metav1.TypeMeta{Kind: "APIGroupDiscoveryList", APIVersion: "apidiscovery.k8s.io/v2"},
		Items:    append([]discovery.APIGroupDiscovery{}, groups...),
	}
}

func (k *kind) discoverV2() discovery.APIResourceDiscovery {
	scope := discovery.ScopeCluster
	if k.namespaced {
		scope = discovery.ScopeNamespace
	}
	d := discovery.APIResourceDiscovery{
		Resource: k.name, SingularResource: k.singular, Scope: scope, ShortNames: k.short, Categories: k.categories, Verbs: k.verbs,
		ResponseKind: &metav1.GroupVersionKind{Version: "v1", Kind: k.kind},
	}
	for _, sub := range k.subresources {
		d.Subresources = append(d.Subresources, discovery.APISubresourceDiscovery{
			Subresource: sub, Verbs: []string{"get"}, ResponseKind: &metav1.GroupVersionKind{Version: "v1", Kind: k.kind},
		})
	}
	return d
}

func (s *Server) discoverV1(w http.ResponseWriter, r *http.Request) error {
	list := metav1.APIResourceList{TypeMeta: metav1.TypeMeta{Kind: "APIResourceList", APIVersion: "v1"}, GroupVersion: "v1"}
	for _, k := range s.kinds {
		list.APIResources = append(list.APIResources, metav1.APIResource{
			Name: k.name, SingularName: k.singular, Namespaced: k.namespaced, Kind: k.kind,
			Verbs: k.verbs, ShortNames: k.short, Categories: k.categories,
		})
		for _, sub := range k.subresources {
			list.APIResources = append(list.APIResources, metav1.APIResource{
				Name: k.name + "/" + sub, Namespaced: k.namespaced, Kind: k.kind, Verbs: []string{"get"},
			})
		}
	}
	return writeJSON(w, r, "application/json", list)
}
