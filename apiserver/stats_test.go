// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metrics "k8s.io/metrics/pkg/apis/metrics/v1beta1"
)

// fakeStats measures what it always measures.
type fakeStats struct {
	mu       sync.Mutex
	requests []Request
}

func (f *fakeStats) Endpoints() map[string]http.Handler {
	return map[string]http.Handler{"/stats/summary": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "summary "+r.URL.RawQuery) // the test reads it
	})}
}

func (f *fakeStats) NodeMetrics(context.Context) (*metrics.NodeMetrics, error) {
	return &metrics.NodeMetrics{ObjectMeta: metav1.ObjectMeta{Name: "n1"}, Usage: someUsage()}, nil
}

func (f *fakeStats) PodMetrics(_ context.Context, namespace string) ([]*metrics.PodMetrics, error) {
	var out []*metrics.PodMetrics
	for _, name := range []string{"a/one", "a/two", "b/three"} {
		ns, pod, _ := strings.Cut(name, "/")
		if namespace == "" || namespace == ns {
			out = append(out, &metrics.PodMetrics{
				ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: pod, Labels: map[string]string{"name": pod}},
				Containers: []metrics.ContainerMetrics{{Name: "x", Usage: someUsage()}, {Name: "y", Usage: someUsage()}},
			})
		}
	}
	return out, nil
}

func (f *fakeStats) OnRequest(r Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	r.Took = 0
	f.requests = append(f.requests, r)
}

func someUsage() corev1.ResourceList {
	return corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("150m"), corev1.ResourceMemory: resource.MustParse("3Mi")}
}

func statsServer(t *testing.T) (*fakeStats, *httptest.Server) {
	b := newBench(t)
	f := &fakeStats{}
	cfg := b.server.cfg
	cfg.Stats = f
	s := httptest.NewServer(New(cfg).Trusted())
	t.Cleanup(s.Close)
	return f, s
}

func ask(t *testing.T, s *httptest.Server, method, path, accept string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, s.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Accept", accept)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func TestMetricsAreMeasuredNotStored(t *testing.T) {
	_, s := statsServer(t)
	const root = "/apis/metrics.k8s.io/v1beta1"
	for _, c := range []struct {
		method, path, accept string
		code                 int
		has, hasNot          []string
	}{
		{"GET", root + "/nodes", "application/json", 200, []string{`"kind":"NodeMetricsList"`, `"cpu":"150m"`}, nil},
		{"GET", root + "/nodes/n1", "application/json", 200, []string{`"kind":"NodeMetrics"`}, nil},
		{"GET", root + "/nodes/n2", "application/json", 404, []string{`nodes.metrics.k8s.io \"n2\" not found`}, nil},
		{"GET", root + "/pods", "application/json", 200, []string{`"one"`, `"two"`, `"three"`}, nil},
		{"GET", root + "/namespaces/a/pods", "application/json", 200, []string{`"one"`, `"two"`}, []string{"three"}},
		{"GET", root + "/pods?labelSelector=name%3Dtwo", "application/json", 200, []string{`"two"`}, []string{`"one"`}},
		{"GET", root + "/pods?fieldSelector=metadata.name%3Dthree", "application/json", 200, []string{`"three"`}, []string{`"one"`}},
		{"GET", root + "/namespaces/a/pods/two", "application/json", 200, []string{`"kind":"PodMetrics"`}, nil},
		{"GET", root + "/namespaces/b/pods/two", "application/json", 404, []string{`"reason":"NotFound"`}, nil},
		{"GET", root + "/namespaces/a/pods/one", "application/json;as=Table;v=v1;g=meta.k8s.io", 200, []string{`"300m"`, `"6Mi"`}, nil},
		{"GET", root + "/pods?watch=1", "application/json", 405, nil, nil},
		{"DELETE", root + "/nodes/n1", "application/json", 405, nil, nil},
		{"GET", root, "application/json", 200, []string{`"name":"pods"`, `"namespaced":true`, `"kind":"PodMetrics"`}, nil},
		{"GET", "/apis", "application/json", 200, []string{`"metrics.k8s.io/v1beta1"`}, nil},
		{"GET", "/openapi/v3/apis/metrics.k8s.io/v1beta1", "application/json", 200, nil, nil},
	} {
		code, body := ask(t, s, c.method, c.path, c.accept)
		if code != c.code {
			t.Errorf("%s %s: %d %s", c.method, c.path, code, body)
		}
		for _, text := range c.has {
			if !strings.Contains(body, text) {
				t.Errorf("%s %s: no %s in %s", c.method, c.path, text, body)
			}
		}
		for _, text := range c.hasNot {
			if strings.Contains(body, text) {
				t.Errorf("%s %s: there is %s in %s", c.method, c.path, text, body)
			}
		}
	}
	if code, body := ask(t, s, "GET", root+"/pods", "application/vnd.kubernetes.protobuf"); code != 200 || !strings.HasPrefix(body, "k8s\x00") {
		t.Errorf("protobuf: %d %q", code, body)
	}
}

func TestTheKubeletsEndpoints(t *testing.T) {
	_, s := statsServer(t)
	for _, c := range []struct {
		method, path string
		code         int
		body         string
	}{
		{"GET", "/stats/summary?x=1", 200, "summary x=1"},
		{"GET", "/stats/summary/", 200, "summary "},
		{"GET", "/api/v1/nodes/n1/proxy/stats/summary?x=2", 200, "summary x=2"},
		{"GET", "/api/v1/nodes/n1:10250/proxy/stats/summary", 200, "summary "},
		{"GET", "/api/v1/nodes/n1/proxy/healthz", 200, "ok"},
		{"GET", "/api/v1/nodes/n2/proxy/stats/summary", 404, ""},
		{"GET", "/api/v1/nodes/n1/proxy/secrets", 404, ""},
		{"GET", "/api/v1/nodes/n1/proxy", 404, ""},
		{"GET", "/api/v1/nodes/n1/proxy/../../../../secrets", 404, ""},
		{"POST", "/stats/summary", 405, ""},
		{"POST", "/api/v1/nodes/n1/proxy/stats/summary", 405, ""},
	} {
		code, body := ask(t, s, c.method, c.path, "*/*")
		if code != c.code || c.body != "" && body != c.body {
			t.Errorf("%s %s: %d %s", c.method, c.path, code, body)
		}
	}
	// Who may not ask is told so.
	b := newBench(t)
	cfg := b.server.cfg
	cfg.Stats = &fakeStats{}
	open := httptest.NewServer(New(cfg))
	defer open.Close()
	for _, path := range []string{"/stats/summary", "/api/v1/nodes/n1/proxy/stats/summary", "/apis/metrics.k8s.io/v1beta1/nodes"} {
		if code, body := ask(t, open, "GET", path, "*/*"); code != 403 && code != 401 {
			t.Errorf("anonymous: %s: %d %s", path, code, body)
		}
	}
}

// A client cannot make the server count by words of its own.
func TestRequestsAreCountedByKnownWords(t *testing.T) {
	f, s := statsServer(t)
	for _, c := range [][2]string{
		{"GET", "/api/v1/namespaces/a/pods"}, {"GET", "/api/v1/namespaces/a/pods/none"}, {"GET", "/own/word"}, {"OWN", "/api/v1/pods"},
		{"GET", "/apis/own/v1/words"}, {"GET", "/stats/summary"}, {"GET", "/api/v1/nodes/n1/proxy/own"},
	} {
		ask(t, s, c[0], c[1], "*/*")
	}
	core := Request{Version: "v1", Resource: "pods"}
	with := func(r Request, verb string, code int) Request { r.Verb, r.Code = verb, code; return r }
	want := []Request{
		with(core, "LIST", 200), with(core, "GET", 404), {Verb: "GET", Code: 404}, with(core, "OTHER", 405), {Verb: "GET", Code: 404},
		{Verb: "GET", Code: 200}, {Verb: "GET", Version: "v1", Resource: "nodes", Subresource: "proxy", Code: 404},
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if !slices.Equal(f.requests, want) {
		t.Errorf("counted\n%+v, want\n%+v", f.requests, want)
	}
}
