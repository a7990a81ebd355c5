// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/uuid"

	"github.com/minikubelet/minikubelet/store"
)

// bench is a server over a store of its own.
type bench struct {
	t      testing.TB
	store  *store.Store
	server *Server
	http   *httptest.Server
}

func newBench(t testing.TB) *bench {
	t.Helper()
	s, err := store.Open(filepath.Join(t.TempDir(), "state.db"))
	if err != nil {
		t.Fatal(err)
	}
	server := New(Config{
		Store: s, NodeName: "n1", Version: "v1.36.3", Log: slog.New(slog.DiscardHandler), Logs: fakeLogs{},
		AskToEnd: askToEnd,
		TellScheduled: func(p *corev1.Pod, kind, reason, message string) {
			told := &corev1.Event{
				ObjectMeta: metav1.ObjectMeta{Namespace: p.Namespace, Name: p.Name + "." + string(uuid.NewUUID())}, Type: kind, Reason: reason, Message: message,
				InvolvedObject: corev1.ObjectReference{Kind: "Pod", Namespace: p.Namespace, Name: p.Name, UID: p.UID},
			}
			if err := s.Create("events", told); err != nil {
				t.Error(err)
			}
		},
		OwnsCondition: func(c corev1.PodCondition) bool { return c.Type == corev1.PodReady },
		Summary: func(p *corev1.Pod) (string, int, int, int) {
			return string(p.Status.Phase), 0, len(p.Spec.Containers), 0
		},
	})
	b := &bench{t, s, server, httptest.NewServer(server.Trusted())}
	t.Cleanup(func() {
		b.http.CloseClientConnections()
		b.http.Close()
		_ = s.Close()
	})
	return b
}

// askToEnd is a simple one of its kind.
func askToEnd(p *corev1.Pod, seconds *int64) bool {
	if p.DeletionTimestamp != nil {
		return false
	}
	now := metav1.Now().Rfc3339Copy()
	p.DeletionTimestamp, p.DeletionGracePeriodSeconds = &now, seconds
	return true
}

// pod stores a Pod with labels "key=value".
func (b *bench) pod(namespace, name string, labels ...string) *corev1.Pod {
	b.t.Helper()
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, UID: types.UID("uid-" + name), Labels: map[string]string{}},
		Spec:       corev1.PodSpec{NodeName: "n1", Containers: []corev1.Container{{Name: "c", Image: "busybox"}}},
		Status:     corev1.PodStatus{Phase: corev1.PodRunning},
	}
	for _, l := range labels {
		k, v, _ := strings.Cut(l, "=")
		p.Labels[k] = v
	}
	if err := b.store.Create("pods", p); err != nil {
		b.t.Fatal(err)
	}
	return p
}

// do sends a request and returns the answer's code, header and body.
func (b *bench) do(method, url, body string, header ...string) (int, http.Header, string) {
	b.t.Helper()
	r, err := http.NewRequest(method, b.http.URL+url, strings.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	defer answer.Body.Close()
	data, err := io.ReadAll(answer.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return answer.StatusCode, answer.Header, string(data)
}

// get reads JSON; the code must be as said.
func (b *bench) get(url string, code int, into any, header ...string) {
	b.t.Helper()
	got, _, body := b.do("GET", url, "", header...)
	if got != code {
		b.t.Fatalf("GET %s: %d, not %d: %s", url, got, code, body)
	}
	if into != nil {
		if err := json.Unmarshal([]byte(body), into); err != nil {
			b.t.Fatalf("GET %s: %v: %s", url, err, body)
		}
	}
}

func names(list *corev1.PodList) string {
	var out []string
	for _, p := range list.Items {
		out = append(out, p.Namespace+"/"+p.Name)
	}
	return strings.Join(out, " ")
}

func TestSelectors(t *testing.T) {
	b := newBench(t)
	b.pod("default", "a", "app=x")
	b.pod("default", "b", "app=y")
	b.pod("other", "c", "app=x")
	for url, want := range map[string]string{
		"/api/v1/pods":                                                    "default/a default/b other/c",
		"/api/v1/namespaces/default/pods":                                 "default/a default/b",
		"/api/v1/pods?labelSelector=app%3Dx":                              "default/a other/c",
		"/api/v1/pods?labelSelector=app+in+(y,z)":                         "default/b",
		"/api/v1/pods?fieldSelector=metadata.name%3Dc":                    "other/c",
		"/api/v1/pods?fieldSelector=metadata.namespace!%3Ddefault":        "other/c",
		"/api/v1/pods?fieldSelector=status.phase%3DRunning":               "default/a default/b other/c",
		"/api/v1/pods?fieldSelector=spec.nodeName%3Dn2":                   "",
		"/api/v1/namespaces/default/pods?fieldSelector=metadata.name%3Dc": "",
	} {
		var list corev1.PodList
		b.get(url, 200, &list)
		if got := names(&list); got != want {
			t.Errorf("%s: %q, not %q", url, got, want)
		}
		if list.Kind != "PodList" || list.APIVersion != "v1" || list.ResourceVersion != "3" {
			t.Errorf("%s: %+v %+v", url, list.TypeMeta, list.ListMeta)
		}
	}
	var status metav1.Status
	for _, url := range []string{
		"/api/v1/pods?labelSelector=a%3D%3D%3Db", "/api/v1/pods?fieldSelector=spec.color%3Dred", "/api/v1/pods?limit=-1", "/api/v1/pods?resourceVersion=x",
		"/api/v1/pods?continue=nonsense",
	} {
		if b.get(url, 400, &status); status.Reason != metav1.StatusReasonBadRequest {
			t.Errorf("%s: %+v", url, status)
		}
	}
	for url, why := range map[string]string{
		"/api/v1/pods?resourceVersionMatch=Exact":                   "resourceVersionMatch is forbidden unless resourceVersion is provided",
		"/api/v1/pods?resourceVersionMatch=Exact&resourceVersion=0": `resourceVersionMatch "exact" is forbidden for resourceVersion "0"`,
		"/api/v1/pods?resourceVersionMatch=Near&resourceVersion=0":  `Unsupported value: "Near"`,
		"/api/v1/pods?sendInitialEvents=true":                       "sendInitialEvents is forbidden for list",
		"/api/v1/pods?watch=1&sendInitialEvents=true":               "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
		"/api/v1/pods?watch=1&resourceVersionMatch=NotOlderThan":    "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
	} {
		if b.get(url, 422, &status); !strings.HasPrefix(status.Message, `ListOptions.meta.k8s.io "" is invalid: `) || !strings.Contains(status.Message, why) {
			t.Errorf("%s: %+v", url, status)
		}
	}
}

func TestErrorsAreStatuses(t *testing.T) {
	b := newBench(t)
	for _, c := range []struct {
		method, url string
		code        int
		message     string
	}{
		{"GET", "/api/v1/namespaces/default/pods/a", 404, `pods "a" not found`},
		{"GET", "/api/v1/colors", 404, "the server could not find the requested resource"},
		{"GET", "/api/v1/namespaces/default/pods/a/b/c", 404, "the server could not find the requested resource"},
		{"GET", "/api/v1/namespaces//pods", 404, ""},
		{"GET", "/api/v2/pods", 404, "the server could not find the requested resource"},
		{"GET", "/apis/example.com/v1/things", 404, "the server could not find the requested resource"},
		{"POST", "/version", 405, ""},
		{"OPTIONS", "/api/v1/nodes", 405, ""},
		{"GET", "/api/v1/pods?resourceVersion=99&resourceVersionMatch=NotOlderThan", 504, "Timeout: Too large resource version: 99, current: 0"},
	} {
		code, _, body := b.do(c.method, c.url, "")
		var status metav1.Status
		if err := json.Unmarshal([]byte(body), &status); err != nil || code != c.code || status.Kind != "Status" || int(status.Code) != code ||
			c.message != "" && status.Message != c.message {
			t.Errorf("%s %s: %d %s", c.method, c.url, code, body)
		}
	}
}

func TestPagesAreOfOneMoment(t *testing.T) {
	b := newBench(t)
	for i := range 5 {
		b.pod("default", fmt.Sprint("p", i))
	}
	var list corev1.PodList
	b.get("/api/v1/pods?limit=2", 200, &list)
	if got := names(&list); got != "default/p0 default/p1" || list.RemainingItemCount == nil || *list.RemainingItemCount != 3 {
		t.Fatalf("first page: %s, %+v", got, list.ListMeta)
	}
	first := list.ResourceVersion
	b.pod("default", "p33") // comes after the first page was read
	if err := b.store.Delete("pods", &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "p4"}}); err != nil {
		t.Fatal(err)
	}
	var all []string
	for list.Continue != "" {
		next := list.Continue
		list = corev1.PodList{}
		b.get("/api/v1/pods?limit=2&continue="+next, 200, &list)
		if list.ResourceVersion != first {
			t.Errorf("page of version %s, not %s", list.ResourceVersion, first)
		}
		all = append(all, names(&list))
	}
	if got := strings.Join(all, " | "); got != "default/p2 default/p3 | default/p4" {
		t.Errorf("further pages: %s", got)
	}
	list = corev1.PodList{}
	b.get("/api/v1/pods?resourceVersionMatch=Exact&resourceVersion="+first, 200, &list)
	if got := names(&list); got != "default/p0 default/p1 default/p2 default/p3 default/p4" {
		t.Errorf("exactly %s: %s", first, got)
	}
	list = corev1.PodList{}
	b.get("/api/v1/pods", 200, &list)
	if got := names(&list); got != "default/p0 default/p1 default/p2 default/p3 default/p33" {
		t.Errorf("now: %s", got)
	}
}

func TestTables(t *testing.T) {
	b := newBench(t)
	b.pod("default", "a")
	const accept = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
	for url, want := range map[string]string{
		"/api/v1/pods":                      "[a 0/1 Running 0 <unknown> <none> n1 <none> <none>] PartialObjectMetadata",
		"/api/v1/namespaces/default/pods/a": "[a 0/1 Running 0 <unknown> <none> n1 <none> <none>] PartialObjectMetadata",
		"/api/v1/pods?includeObject=Object": "[a 0/1 Running 0 <unknown> <none> n1 <none> <none>] Pod",
		"/api/v1/pods?includeObject=None":   "[a 0/1 Running 0 <unknown> <none> n1 <none> <none>] ",
	} {
		var table metav1.Table
		b.get(url, 200, &table, "Accept", accept)
		if len(table.Rows) != 1 || len(table.ColumnDefinitions) != len(table.Rows[0].Cells) || table.Kind != "Table" {
			t.Fatalf("%s: %+v", url, table)
		}
		var o metav1.TypeMeta
		if raw := table.Rows[0].Object.Raw; raw != nil {
			if err := json.Unmarshal(raw, &o); err != nil {
				t.Fatal(err)
			}
		}
		if got := fmt.Sprint(table.Rows[0].Cells, " ", o.Kind); got != want {
			t.Errorf("%s: %s, not %s", url, got, want)
		}
	}
	var list metav1.PartialObjectMetadataList
	b.get("/api/v1/pods", 200, &list, "Accept", "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io")
	if len(list.Items) != 1 || list.Items[0].Name != "a" || list.Kind != "PartialObjectMetadataList" {
		t.Errorf("metadata: %+v", list)
	}
}

func TestForms(t *testing.T) {
	b := newBench(t)
	b.pod("default", "a")
	for accept, want := range map[string]string{
		"":                                    "application/json {",
		"*/*":                                 "application/json {",
		"application/yaml":                    "application/yaml apiVersion: v1",
		"text/html, application/yaml;q=0.5":   "application/yaml apiVersion: v1",
		"application/vnd.kubernetes.protobuf": "application/vnd.kubernetes.protobuf k8s\x00",
		"text/html":                           "application/json {\"kind\":\"Status\"",
		"application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io,application/json": "application/json {",
	} {
		code, header, body := b.do("GET", "/api/v1/pods", "", "Accept", accept)
		if got := header.Get("Content-Type") + " " + body; !strings.HasPrefix(got, want) || (code == 200) == (accept == "text/html") {
			t.Errorf("Accept %q: %d %.80q, not %q", accept, code, got, want)
		}
	}
}

func TestAnonymousSeesHealthAlone(t *testing.T) {
	b := newBench(t)
	for url, want := range map[string]int{
		"/healthz": 200, "/livez": 200, "/readyz": 200, "/version": 200,
		"/api": 403, "/": 403, "/openapi/v3": 403, "/api/v1/pods": 403, "/api/v1/namespaces/default/pods/x": 403, "/nonsense": 403, "/healthz/../api/v1/pods": 403,
	} {
		w := httptest.NewRecorder()
		b.server.ServeHTTP(w, httptest.NewRequest("GET", url, nil))
		if w.Code != want {
			t.Errorf("%s: %d, not %d: %s", url, w.Code, want, w.Body)
		}
	}
	w := httptest.NewRecorder()
	b.server.ServeHTTP(w, httptest.NewRequest("DELETE", "/api/v1/namespaces/default/pods/x", nil))
	if want := `pods \"x\" is forbidden: User \"system:anonymous\" cannot delete resource \"pods\" in API group \"\" in the namespace \"default\"`; !strings.Contains(w.Body.String(), want) {
		t.Error(w.Body)
	}
}

func TestHealthIsVerboseWhenAsked(t *testing.T) {
	b := newBench(t)
	for url, want := range map[string]string{
		"/livez": "ok", "/readyz?verbose": "[+]ping ok\nreadyz check passed\n", "/healthz/?verbose=true": "[+]ping ok\nhealthz check passed\n",
	} {
		if _, _, body := b.do("GET", url, ""); body != want {
			t.Errorf("%s: %q", url, body)
		}
	}
}

func TestTooManyRequestsAreToldSo(t *testing.T) {
	b := newBench(t)
	var giveBack func()
	for range inFlightMax {
		var err error
		if giveBack, err = b.server.flight.take(socketIdentity()); err != nil {
			t.Fatal(err)
		}
	}
	code, header, body := b.do("GET", "/api/v1/pods", "")
	if code != http.StatusTooManyRequests || header.Get("Retry-After") != "1" {
		t.Errorf("%d %v %s", code, header, body)
	}
	// What a request asks of others must not make it a watch, which has places of its own.
	if code, _, body := b.do("GET", "/api/v1/pods?follow=true", ""); code != http.StatusTooManyRequests {
		t.Errorf("with a parameter of logs: %d %s", code, body)
	}
	giveBack()
	b.get("/api/v1/pods", 200, nil)
}

func TestSocketIsForItsOwner(t *testing.T) {
	b := newBench(t)
	path := filepath.Join(t.TempDir(), "api.sock")
	for range 2 { // the second time an old socket is there
		l, err := Listen(path)
		if err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Fatalf("socket: %v, mode %v", err, info.Mode())
		}
		l.(*net.UnixListener).SetUnlinkOnClose(false)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- Serve(ctx, l, nil, b.server.Trusted(), slog.New(slog.DiscardHandler)) }()
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		}}}
		r, err := client.Get("http://node/healthz")
		if err != nil || r.StatusCode != 200 {
			t.Fatalf("%v %v", r, err)
		}
		_ = r.Body.Close()
		cancel()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
}

// fakeLogs shows what it was asked for.
type fakeLogs struct{}

func (fakeLogs) ReadLog(_ context.Context, pod *corev1.Pod, o *corev1.PodLogOptions, w io.Writer) error {
	if o.Previous {
		return apierrors.NewBadRequest("none")
	}
	show := func(n *int64) string {
		if n == nil {
			return "-"
		}
		return fmt.Sprint(*n)
	}
	_, err := fmt.Fprint(w, pod.Name, " ", o.Container, " ", o.Follow, " ", show(o.TailLines), " ", show(o.SinceSeconds), " ", show(o.LimitBytes), " ", o.Timestamps)
	return err
}

func TestLogs(t *testing.T) {
	b := newBench(t)
	b.pod("default", "a")
	p := b.pod("default", "two")
	p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: "d"})
	if err := b.store.Update("pods", p); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		query string
		code  int
		want  string
	}{
		{"a/log", 200, "a c false - - - false"},
		{"a/log?follow=true&tailLines=3&sinceSeconds=5&limitBytes=7&timestamps=true", 200, "a c true 3 5 7 true"},
		{"two/log?container=d", 200, "two d false - - - false"},
		{"two/log", 400, "a container name must be specified for pod two, choose one of: [c d]"},
		{"a/log?container=z", 400, "container z is not valid for pod a"},
		{"a/log?previous=true", 400, "none"},
		{"a/log?tailLines=-1", 422, "tailLines"},
		{"a/log?sinceTime=yesterday", 422, "sinceTime"},
		{"a/log?sinceTime=2026-01-02T15:04:05Z&sinceSeconds=1", 422, "at most one"},
		{"a/log?stream=Both", 422, "stream"},
		{"nobody/log", 404, "not found"},
		{"a/color", 404, "could not find"},
	} {
		code, header, body := b.do("GET", "/api/v1/namespaces/default/pods/"+c.query, "")
		if code != c.code || !strings.Contains(body, c.want) || code == 200 && (body != c.want || header.Get("Content-Type") != "text/plain") {
			t.Errorf("%s: %d %s", c.query, code, body)
		}
	}
}

func FuzzRequests(f *testing.F) {
	f.Add("GET", "/api/v1/namespaces/default/pods/a", "watch=1&labelSelector=a%3Db&timeoutSeconds=1")
	f.Add("GET", "/api/v1/watch/pods", "limit=1&continue=eyJydiI6MSwic3RhcnQiOiJhIn0&fieldSelector=status.phase!%3DRunning")
	f.Add("DELETE", "/api/v1/pods", "resourceVersion=1&resourceVersionMatch=Exact&limit=2")
	s, err := store.Open(filepath.Join(f.TempDir(), "state.db"))
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = s.Close() })
	b := &bench{t: f, store: s}
	b.pod("default", "a", "a=b")
	server := New(Config{Store: s, Version: "v1.36.3", Log: slog.New(slog.DiscardHandler), Logs: fakeLogs{},
		AskToEnd: askToEnd, NodeName: "n1", Streams: addressed{},
		Summary: func(*corev1.Pod) (string, int, int, int) { return "", 0, 0, 0 }})
	canceled, cancel := context.WithCancel(context.Background())
	cancel()
	f.Fuzz(func(t *testing.T, method, path, query string) {
		if !strings.HasPrefix(path, "/") || strings.ContainsAny(method+path+query, " \r\n\x00") || method == "" {
			t.Skip("no request line: net/http refuses it before the handler")
		}
		r := httptest.NewRequest("GET", "/", nil).WithContext(canceled)
		r.Method, r.URL.Path, r.URL.RawQuery = method, path, query
		w := httptest.NewRecorder()
		server.Trusted().ServeHTTP(w, r)
		if w.Code >= 500 && w.Code != 504 {
			t.Errorf("%s %s?%s: %d %s", method, path, query, w.Code, w.Body)
		}
		w = httptest.NewRecorder()
		server.ServeHTTP(w, r)
		if w.Code < 400 && !public(r) {
			t.Errorf("anonymous: %s %s?%s: %d", method, path, query, w.Code)
		}
	})
}

// space stores namespaces.
func (b *bench) space(names ...string) {
	b.t.Helper()
	for _, name := range names {
		err := b.store.Create(namespaces, &corev1.Namespace{
			ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID("uid-" + name)},
			Spec:       corev1.NamespaceSpec{Finalizers: []corev1.FinalizerName{corev1.FinalizerKubernetes}},
			Status:     corev1.NamespaceStatus{Phase: corev1.NamespaceActive},
		})
		if err != nil {
			b.t.Fatal(err)
		}
	}
}

func TestLargeAnswersArePackedForClientsElsewhere(t *testing.T) {
	for from, want := range map[string]string{"192.0.2.7:4711": "gzip", "[2001:db8::1]:4711": "gzip", "127.0.0.1:4711": "", "[::1]:4711": "", "@": ""} {
		for size, large := range map[int]bool{gzipMin: true, gzipMin - 1: false} {
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			r.RemoteAddr = from
			r.Header.Set("Accept-Encoding", "gzip, deflate")
			w := httptest.NewRecorder()
			if err := writeBody(w, r, http.StatusOK, "text/plain", make([]byte, size)); err != nil {
				t.Fatal(err)
			}
			if got := w.Header().Get("Content-Encoding"); large && got != want || !large && got != "" {
				t.Errorf("%d bytes to %s are encoded as %q", size, from, got)
			}
		}
	}
}
