// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/minikubelet/minikubelet/apiserver/token"
	"github.com/minikubelet/minikubelet/store"
)

// fuzzed is a server whose objects are the same before each request.
type fuzzed struct {
	*bench
	seeds map[string][]store.Object
	at    uint64 // the revision of the seeds
}

// newFuzzed stores in memory where that is possible: a request is then a matter of
// microseconds.
func newFuzzed(f *testing.F) *fuzzed {
	f.Helper()
	if s, err := os.Stat("/dev/shm"); err == nil && s.IsDir() {
		f.Setenv("TMPDIR", "/dev/shm")
	}
	b := newBench(f)
	tokens, err := token.Open(filepath.Join(f.TempDir(), "key.pem"), func(path string, data []byte) error { return os.WriteFile(path, data, 0o600) }, b.store)
	if err != nil {
		f.Fatal(err)
	}
	b.server.cfg.Tokens, b.server.cfg.Streams = tokens, addressed{}
	named := func(name string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID("uid-" + name), Labels: map[string]string{"app": name}}
	}
	pod := func(name, node string) *corev1.Pod {
		p := simplePod(name)
		p.ObjectMeta, p.Spec.NodeName, p.Status.Phase = named(name), node, corev1.PodRunning
		return p
	}
	claimed := claim("", "1Gi")
	claimed.ObjectMeta, claimed.Status.Phase = named("a"), corev1.ClaimBound
	out := &fuzzed{bench: b, seeds: map[string][]store.Object{
		"namespaces": {&corev1.Namespace{
			ObjectMeta: metav1.ObjectMeta{Name: "default", UID: "uid-default"},
			Spec:       corev1.NamespaceSpec{Finalizers: []corev1.FinalizerName{corev1.FinalizerKubernetes}}, Status: corev1.NamespaceStatus{Phase: corev1.NamespaceActive},
		}},
		"nodes":                  {&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1", UID: "uid-n1"}}},
		"pods":                   {pod("a", "n1"), pod("b", "")},
		"configmaps":             {&corev1.ConfigMap{ObjectMeta: named("a"), Data: map[string]string{"k": "v"}}},
		"secrets":                {&corev1.Secret{ObjectMeta: named("a"), Type: corev1.SecretTypeOpaque, Data: map[string][]byte{"k": {1}}}},
		"serviceaccounts":        {&corev1.ServiceAccount{ObjectMeta: named("default")}},
		"services":               {&corev1.Service{ObjectMeta: named("a"), Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}}}},
		"persistentvolumeclaims": {claimed},
		"storageclasses":         {&storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: "a"}, Provisioner: "p", AllowVolumeExpansion: ptr.To(true)}},
		"roles":                  {&rbacv1.Role{ObjectMeta: named("a")}},
		"resourcequotas":         {&corev1.ResourceQuota{ObjectMeta: named("a"), Spec: corev1.ResourceQuotaSpec{Hard: list("pods=5")}}},
		"limitranges":            {&corev1.LimitRange{ObjectMeta: named("a"), Spec: corev1.LimitRangeSpec{Limits: []corev1.LimitRangeItem{{Type: corev1.LimitTypeContainer, Max: list("cpu=4")}}}}},
		"events":                 {&corev1.Event{ObjectMeta: named("a")}},
	}}
	out.seed(f)
	return out
}

// seed puts the objects back.
func (b *fuzzed) seed(t testing.TB) {
	t.Helper()
	for _, k := range b.server.kinds {
		if !k.stores() {
			continue
		}
		var all []store.Object
		_, err := b.store.List(k.name, "", func(data store.Data) error {
			o := k.object()
			all = append(all, o)
			return data.Into(o)
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range all {
			if err := b.store.Delete(k.name, o); err != nil {
				t.Fatal(err)
			}
		}
	}
	for resource, list := range b.seeds {
		for _, o := range list {
			if err := b.store.Create(resource, o.DeepCopyObject().(store.Object)); err != nil {
				t.Fatal(err)
			}
		}
	}
	b.at = b.store.Revision()
}

// ask sends a request and holds the answer to what is promised: no input is the
// server's fault, an error is a Status and changes nothing, nor does a dry run.
func (b *fuzzed) ask(t *testing.T, method, path, query, media string, body []byte) {
	t.Helper()
	if b.store.Revision() != b.at {
		b.seed(t)
	}
	ended, cancel := context.WithCancel(t.Context()) // a watch ends at once
	cancel()
	r := httptest.NewRequest(method, path, bytes.NewReader(body)).WithContext(ended)
	r.URL.RawQuery = query
	if media != "" {
		r.Header.Set("Content-Type", media)
	}
	w := httptest.NewRecorder()
	b.server.Trusted().ServeHTTP(w, r)
	changed := b.store.Revision() != b.at
	if q, err := url.ParseQuery(query); err == nil && len(q["dryRun"]) > 0 && changed {
		t.Errorf("a dry run has changed the store: %s %s?%s %s %q", method, path, query, media, body)
	}
	if w.Code < http.StatusBadRequest {
		return
	}
	var s metav1.Status
	if err := json.Unmarshal(w.Body.Bytes(), &s); err != nil || s.Kind != "Status" || s.Status != metav1.StatusFailure || int(s.Code) != w.Code || s.Reason == "" || s.Message == "" {
		t.Errorf("no Status: %v: %s %s?%s %s %q: %d %s", err, method, path, query, media, body, w.Code, w.Body)
	}
	if w.Code >= http.StatusInternalServerError && w.Code != http.StatusGatewayTimeout { // a resourceVersion of the future
		t.Errorf("%s %s?%s %s %q: %d %s", method, path, query, media, body, w.Code, w.Body)
	}
	if changed {
		t.Errorf("an error has changed the store: %s %s?%s %s %q: %d %s", method, path, query, media, body, w.Code, w.Body)
	}
}

const space = "/api/v1/namespaces/default/"

// written are what bodies are sent to.
var written = []struct{ method, path string }{
	{http.MethodPost, space + "pods"}, {http.MethodPut, space + "pods/a"}, {http.MethodPut, space + "pods/a/status"}, {http.MethodPut, space + "pods/a/resize"},
	{http.MethodPut, space + "pods/a/ephemeralcontainers"}, {http.MethodPost, space + "pods/a/eviction"}, {http.MethodPost, space + "pods/b/binding"},
	{http.MethodDelete, space + "pods/a"}, {http.MethodDelete, space + "configmaps"},
	{http.MethodPost, space + "configmaps"}, {http.MethodPut, space + "configmaps/a"}, {http.MethodPost, space + "secrets"}, {http.MethodPut, space + "secrets/a"},
	{http.MethodPost, space + "services"}, {http.MethodPut, space + "services/a"}, {http.MethodPut, space + "persistentvolumeclaims/a"}, {http.MethodPost, space + "limitranges"},
	{http.MethodPost, space + "resourcequotas"}, {http.MethodPost, space + "events"}, {http.MethodPost, space + "serviceaccounts/default/token"},
	{http.MethodPut, "/api/v1/nodes/n1"}, {http.MethodPut, "/api/v1/nodes/n1/status"}, {http.MethodPost, "/api/v1/namespaces"}, {http.MethodPut, "/api/v1/namespaces/default/finalize"},
	{http.MethodPost, "/apis/events.k8s.io/v1/namespaces/default/events"}, {http.MethodPost, "/apis/rbac.authorization.k8s.io/v1/namespaces/default/roles"},
	{http.MethodPost, "/apis/coordination.k8s.io/v1/namespaces/default/leases"}, {http.MethodPost, "/apis/scheduling.k8s.io/v1/priorityclasses"},
	{http.MethodPost, "/apis/authorization.k8s.io/v1/subjectaccessreviews"}, {http.MethodPost, "/apis/authentication.k8s.io/v1/tokenreviews"},
}

var bodyMedia = []string{runtime.ContentTypeJSON, runtime.ContentTypeYAML, runtime.ContentTypeProtobuf, "", "text/plain; a=b", "application/json; charset=utf-8"}

func FuzzBodies(f *testing.F) {
	b := newFuzzed(f)
	grace := metav1.DeleteOptions{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "DeleteOptions"}, GracePeriodSeconds: ptr.To[int64](1)}
	objects := []runtime.Object{
		&grace,
		&policyv1.Eviction{TypeMeta: metav1.TypeMeta{APIVersion: "policy/v1", Kind: "Eviction"}, ObjectMeta: metav1.ObjectMeta{Name: "a"}, DeleteOptions: &grace},
		&corev1.Binding{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Binding"}, Target: corev1.ObjectReference{Kind: "Node", Name: "n1"}},
		&authenticationv1.TokenRequest{TypeMeta: metav1.TypeMeta{APIVersion: "authentication.k8s.io/v1", Kind: "TokenRequest"}, Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: ptr.To[int64](600)}},
	}
	for resource, list := range b.seeds {
		for _, k := range b.server.kinds {
			if k.name == resource {
				for _, o := range list {
					o = o.DeepCopyObject().(store.Object)
					o.GetObjectKind().SetGroupVersionKind(k.gvk())
					objects = append(objects, o)
				}
			}
		}
	}
	for i := range written {
		for _, o := range objects {
			text, err := json.Marshal(o)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(uint8(i), uint8(0), "fieldManager=x&fieldValidation=Strict", text)
			f.Add(uint8(i), uint8(1), "dryRun=All&fieldValidation=Warn", text)
			var packed bytes.Buffer
			info, _ := b.server.codecs.find("application", "vnd.kubernetes.protobuf")
			if err := info.Serializer.Encode(o, &packed); err != nil {
				continue // some have no such form
			}
			f.Add(uint8(i), uint8(2), "", packed.Bytes())
		}
		f.Add(uint8(i), uint8(0), "", []byte(`{"metadata":{"name":"z","namespace":"default","managedFields":[{"fieldsV1":{"f:x":[]}}],"ownerReferences":[{}]},"spec":null,"status":[]}`))
		f.Add(uint8(i), uint8(1), "fieldValidation=Ignore", []byte("a: &a [*a]\nmetadata: {name: [1]}\n"))
		f.Add(uint8(i), uint8(3), "propagationPolicy=Foreground&gracePeriodSeconds=-1", []byte("null"))
	}
	f.Fuzz(func(t *testing.T, path, media uint8, query string, body []byte) {
		to := written[int(path)%len(written)]
		b.ask(t, to.method, to.path, query, bodyMedia[int(media)%len(bodyMedia)], body)
	})
}

// patched are what patches are sent to.
var patched = []string{
	space + "pods/a", space + "pods/b", space + "pods/new", space + "pods/a/status", space + "pods/a/resize", space + "pods/a/ephemeralcontainers", space + "configmaps/a", space + "configmaps/new",
	space + "secrets/a", space + "services/a", space + "services/a/status", space + "persistentvolumeclaims/a", space + "serviceaccounts/default", space + "limitranges/a", space + "resourcequotas/a/status",
	"/api/v1/nodes/n1", "/api/v1/nodes/n1/status", "/api/v1/namespaces/default", space + "events/a", "/apis/events.k8s.io/v1/namespaces/default/events/a",
	"/apis/rbac.authorization.k8s.io/v1/namespaces/default/roles/a", "/apis/storage.k8s.io/v1/storageclasses/a",
}

var patchMedia = []types.PatchType{types.JSONPatchType, types.MergePatchType, types.StrategicMergePatchType, types.ApplyYAMLPatchType, types.ApplyCBORPatchType}

func FuzzPatches(f *testing.F) {
	b := newFuzzed(f)
	for i := range patched {
		for kind, list := range [][]string{
			{
				`[{"op":"add","path":"/metadata/labels/x","value":"y"}]`, `[{"op":"remove","path":"/spec"}]`, `[{"op":"replace","path":"","value":null}]`,
				`[{"op":"copy","from":"/metadata","path":"/spec"},{"op":"move","from":"/spec/containers/0","path":"/spec/containers/-"}]`, `[{"op":"test","path":"/a~1b~0/-1"}]`, `[{}]`, `null`, `[{"op":"replace","path":""}]`, `[{"op":"test","path":""}]`, `[{"op":"test","path":"","value":null}]`,
				`[{"op":"add","path":"/metadata/labels/x"}]`, `[{"op":"add","path":"/metadata/labels","value":null},{"op":"add","path":"/metadata/labels/x","value":"y"}]`,
			},
			{`{"metadata":{"labels":{"x":null,"y":"z"},"annotations":{"a":"b"}}}`, `{"metadata":null}`, `{"spec":{"containers":null}}`, `{"data":{"k":"w"},"spec":{"unschedulable":true}}`, `[]`, `null`},
			{
				`{"spec":{"containers":[{"name":"c","image":"x"}],"$setElementOrder/containers":[{"name":"c"}]}}`, `{"spec":{"containers":[{"$patch":"delete","name":"c"}]}}`,
				`{"$patch":"replace"}`, `{"metadata":{"$deleteFromPrimitiveList/finalizers":["x"],"$retainKeys":["name"]}}`, `{"spec":{"$patch":"what"}}`, `{"metadata":{"finalizers":["example.com/a"]}}`,
				`{"$setElementOrder/x":1,"spec":{"ephemeralContainers":[{"name":"e","image":"x"}]}}`,
			},
			{
				"apiVersion: v1\nkind: Pod\nmetadata: {name: a, labels: {x: y}}\n", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {k: w}\n",
				"apiVersion: v1\nkind: Pod\nspec: {containers: [{name: c, image: z, ports: [{containerPort: 1}, {containerPort: 1}]}]}\n",
				"apiVersion: v1\nkind: Node\nspec: {taints: [{key: a, effect: NoSchedule}]}\n", "{}", "a: &a [*a]", "apiVersion: v1\nkind: Pod\nmetadata: {managedFields: [{}]}\n",
			},
		} {
			for _, text := range list {
				f.Add(uint8(i), uint8(kind), "fieldManager=x&force=true", []byte(text))
				f.Add(uint8(i), uint8(kind), "fieldManager=y&dryRun=All&fieldValidation=Strict", []byte(text))
			}
		}
	}
	f.Fuzz(func(t *testing.T, path, media uint8, query string, body []byte) {
		b.ask(t, http.MethodPatch, patched[int(path)%len(patched)], query, string(patchMedia[int(media)%len(patchMedia)]), body)
	})
}

// asked are what queries are sent to.
var asked = []struct{ method, path string }{
	{http.MethodGet, "/api/v1/pods"}, {http.MethodGet, space + "pods/a"}, {http.MethodGet, space + "pods/a/log"}, {http.MethodGet, "/api/v1/watch/pods"}, {http.MethodGet, "/api/v1/nodes"},
	{http.MethodGet, "/apis/events.k8s.io/v1/events"}, {http.MethodGet, space + "configmaps"}, {http.MethodGet, "/openapi/v3"}, {http.MethodGet, "/apis"},
	{http.MethodDelete, space + "pods/a"}, {http.MethodDelete, space + "configmaps/a"}, {http.MethodDelete, space + "configmaps"}, {http.MethodGet, space + "pods/a/exec"}, {http.MethodGet, space + "pods/a/proxy/"},
}

func FuzzQueries(f *testing.F) {
	b := newFuzzed(f)
	for i := range asked {
		for _, query := range []string{
			"watch=1&resourceVersion=0&timeoutSeconds=-1", "watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=1", "limit=1&continue=eyJydiI6MSwic3RhcnQiOiJhIn0",
			"labelSelector=a+in+(b,c),!d,e!=f&fieldSelector=metadata.name%3Da,spec.nodeName!%3Dx", "fieldSelector=a%5C", "labelSelector=%00,(", "resourceVersion=18446744073709551615", "resourceVersion=1&resourceVersionMatch=Exact&limit=9223372036854775807",
			"tailLines=1&limitBytes=1&sinceSeconds=1&container=c", "sinceTime=2026-01-02T15:04:05Z&stream=Stdout&follow=1", "gracePeriodSeconds=99999999999999999999&propagationPolicy=Orphan&orphanDependents=true&dryRun=All",
			"includeObject=Object&pretty=1", "%zz&=;", "container=c&stdin=1&stdout=1&command=%ff",
		} {
			f.Add(uint8(i), query)
		}
	}
	f.Fuzz(func(t *testing.T, path uint8, query string) {
		if strings.ContainsAny(query, " \r\n\x00") {
			t.Skip("no request line: net/http refuses it before the handler")
		}
		to := asked[int(path)%len(asked)]
		b.ask(t, to.method, to.path, query, "", nil)
	})
}
