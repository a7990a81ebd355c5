// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"bufio"
	"context"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	metrics "k8s.io/metrics/pkg/apis/metrics/v1beta1"
)

// Stats tells what the node and its Pods use and do.
type Stats interface {
	// Endpoints are the kubelet's own, like /stats/summary, by their paths. It is
	// called once. They are asked with GET and HEAD alone.
	Endpoints() map[string]http.Handler
	// NodeMetrics and PodMetrics are those of metrics.k8s.io. They may take a second,
	// to measure. An empty namespace is all.
	NodeMetrics(ctx context.Context) (*metrics.NodeMetrics, error)
	PodMetrics(ctx context.Context, namespace string) ([]*metrics.PodMetrics, error)
	// OnRequest hears of each request when it has been answered. It must not block.
	OnRequest(Request)
}

// Request is one that was answered. Its words are from a bounded set: what is no
// resource of this server has none.
type Request struct {
	Verb, Group, Version, Resource, Subresource string
	Code                                        int
	Took                                        time.Duration
	// Long is a watch or a stream, which takes as long as its client wants.
	Long bool
}

// count tells of a request at its end.
func (s *Server) count(w http.ResponseWriter, r *http.Request, req request, k *kind, sub *subresource, long bool) (http.ResponseWriter, func()) {
	if s.cfg.Stats == nil {
		return w, func() {}
	}
	began, c := time.Now(), &statusWriter{ResponseWriter: w}
	return c, func() {
		out := Request{Verb: strings.ToUpper(req.verb), Code: max(c.code, http.StatusOK), Took: time.Since(began), Long: long}
		if k != nil {
			out.Group, out.Version, out.Resource = k.group, k.version, k.name
		} else {
			out.Verb = r.Method
		}
		if !slices.Contains(countedVerbs, out.Verb) {
			out.Verb = "OTHER"
		}
		if c.code == 0 && c.taken {
			out.Code = http.StatusSwitchingProtocols
		}
		if sub != nil {
			out.Subresource = sub.name
		}
		s.cfg.Stats.OnRequest(out)
	}
}

// countedVerbs bound the words that a client can make us count by.
var countedVerbs = []string{
	"CREATE", "DELETE", "DELETECOLLECTION", "GET", "LIST", "PATCH", "UPDATE", "WATCH", http.MethodHead, http.MethodPost, http.MethodPut,
}

// statusWriter notes the status of an answer.
type statusWriter struct {
	http.ResponseWriter
	code  int
	taken bool
}

func (c *statusWriter) WriteHeader(code int) {
	if c.code == 0 && code >= http.StatusOK || code == http.StatusSwitchingProtocols {
		c.code = code
	}
	c.ResponseWriter.WriteHeader(code)
}

// Unwrap is for http.ResponseController.
func (c *statusWriter) Unwrap() http.ResponseWriter { return c.ResponseWriter }

// Flush is http.Flusher's.
func (c *statusWriter) Flush() { _ = http.NewResponseController(c.ResponseWriter).Flush() }

// Hijack is http.Hijacker's.
func (c *statusWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buf, err := http.NewResponseController(c.ResponseWriter).Hijack()
	c.taken = c.taken || err == nil
	return conn, buf, err
}

// endpoint finds one of the kubelet's own.
func (s *Server) endpoint(path string) http.Handler {
	return s.endpoints[strings.TrimSuffix(path, "/")]
}

// nodeProxy is …/nodes/{name}/proxy/{path}, which reaches the node's own endpoints.
func nodeProxy() subresource {
	return subresource{
		name: "proxy", verbs: []string{"get"}, deep: true,
		kind: schema.GroupVersionKind{Version: "v1", Kind: "NodeProxyOptions"}, serve: (*Server).serveNodeProxy,
	}
}

func (s *Server) serveNodeProxy(w http.ResponseWriter, r *http.Request, req request) error {
	_, name, _, ok := utilnet.SplitSchemeNamePort(req.name) // the kubelet's scheme and port
	if !ok || name != s.cfg.NodeName {
		return apierrors.NewNotFound(schema.GroupResource{Resource: "nodes"}, req.name)
	}
	path := strings.TrimSuffix(req.path, "/")
	if path == "/healthz" {
		return s.health(w, r)
	}
	h := s.endpoint(path)
	if h == nil {
		return notFoundPath()
	}
	h.ServeHTTP(w, r)
	return nil
}
