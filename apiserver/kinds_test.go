// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"encoding/json"
	"fmt"
	"net/http"
	"path"
	"strings"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/utils/ptr"
)

// samples has one object of each kind that clients may make, and the beginning of
// its row.
func samples(t *testing.T) map[string][2]string {
	t.Helper()
	bundle, err := json.Marshal(someCA(t))
	if err != nil {
		t.Fatal(err)
	}
	return map[string][2]string{
		"/apis/rbac.authorization.k8s.io/v1/clusterrolebindings": {`{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"ClusterRoleBinding","metadata":{"name":"x"},
			"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole","name":"r"},"subjects":[{"kind":"User","name":"u"},{"kind":"ServiceAccount","name":"s","namespace":"n"}]}`, "x ClusterRole/r 0s u  n/s"},
		"/apis/rbac.authorization.k8s.io/v1/clusterroles": {`{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"ClusterRole","metadata":{"name":"x"},"rules":[{"apiGroups":[""],"resources":["pods"],"verbs":["get"]}]}`, "x 20"},
		"/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings": {`{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"RoleBinding","metadata":{"name":"x"},
			"roleRef":{"apiGroup":"rbac.authorization.k8s.io","kind":"Role","name":"r"},"subjects":[{"kind":"Group","name":"g"}]}`, "x Role/r 0s  g "},
		"/apis/rbac.authorization.k8s.io/v1/namespaces/default/roles": {`{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"Role","metadata":{"name":"x"},"rules":[]}`, "x 20"},
		"/api/v1/namespaces/default/configmaps":                       {`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"x"}}`, "x 0 0s"},
		"/api/v1/namespaces/default/secrets":                          {`{"apiVersion":"v1","kind":"Secret","metadata":{"name":"x"}}`, "x Opaque 0 0s"},
		"/api/v1/namespaces/default/serviceaccounts":                  {`{"apiVersion":"v1","kind":"ServiceAccount","metadata":{"name":"x"}}`, "x 0s"},
		"/api/v1/namespaces":                                          {`{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"x"}}`, "x Active 0s"},
		"/api/v1/namespaces/default/endpoints":                        {`{"apiVersion":"v1","kind":"Endpoints","metadata":{"name":"x"},"subsets":[{"addresses":[{"ip":"10.0.0.1"}],"ports":[{"port":80}]}]}`, "x 10.0.0.1:80 0s"},
		"/apis/discovery.k8s.io/v1/namespaces/default/endpointslices": {`{"apiVersion":"discovery.k8s.io/v1","kind":"EndpointSlice","metadata":{"name":"x"},"addressType":"IPv4","ports":[{"port":80}],"endpoints":[{"addresses":["10.0.0.1"]}]}`, "x IPv4 80 10.0.0.1 0s"},
		"/apis/coordination.k8s.io/v1/namespaces/default/leases":      {`{"apiVersion":"coordination.k8s.io/v1","kind":"Lease","metadata":{"name":"x"},"spec":{"holderIdentity":"me"}}`, "x me 0s"},
		"/api/v1/namespaces/default/limitranges":                      {`{"apiVersion":"v1","kind":"LimitRange","metadata":{"name":"x"},"spec":{"limits":[{"type":"Container","default":{"cpu":"1"}}]}}`, "x 20"},
		"/api/v1/namespaces/default/resourcequotas":                   {`{"apiVersion":"v1","kind":"ResourceQuota","metadata":{"name":"x"},"spec":{"hard":{"limits.cpu":"1000"}}}`, "x   0s"},
		"/api/v1/namespaces/default/services":                         {`{"apiVersion":"v1","kind":"Service","metadata":{"name":"x"},"spec":{"selector":{"a":"b"},"ports":[{"port":80}]}}`, "x ClusterIP <none> <none> 80/TCP 0s a=b"},
		"/api/v1/namespaces/default/podtemplates":                     {`{"apiVersion":"v1","kind":"PodTemplate","metadata":{"name":"x"},"template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"c","image":"i"}]}}}`, "x c i a=b"},
		"/api/v1/persistentvolumes":                                   {`{"apiVersion":"v1","kind":"PersistentVolume","metadata":{"name":"x"},"spec":{"capacity":{"storage":"1Gi"},"accessModes":["ReadWriteOnce"],"hostPath":{"path":"/x"}}}`, "x 1Gi RWO Retain Pending   <unset>  0s Filesystem"},
		"/api/v1/namespaces/default/persistentvolumeclaims":           {`{"apiVersion":"v1","kind":"PersistentVolumeClaim","metadata":{"name":"x"},"spec":{"accessModes":["ReadWriteOnce"],"resources":{"requests":{"storage":"1Gi"}}}}`, "x Pending     <unset> 0s Filesystem"},
		"/apis/storage.k8s.io/v1/storageclasses":                      {`{"apiVersion":"storage.k8s.io/v1","kind":"StorageClass","metadata":{"name":"x"},"provisioner":"p"}`, "x p Delete Immediate false 0s"},
		"/apis/node.k8s.io/v1/runtimeclasses":                         {`{"apiVersion":"node.k8s.io/v1","kind":"RuntimeClass","metadata":{"name":"x"},"handler":"runc"}`, "x runc 0s"},
		"/apis/certificates.k8s.io/v1beta1/clustertrustbundles":       {`{"apiVersion":"certificates.k8s.io/v1beta1","kind":"ClusterTrustBundle","metadata":{"name":"x"},"spec":{"trustBundle":` + string(bundle) + `}}`, "x <none>"},
		"/apis/scheduling.k8s.io/v1/priorityclasses":                  {`{"apiVersion":"scheduling.k8s.io/v1","kind":"PriorityClass","metadata":{"name":"x"},"value":7}`, "x 7 false 0s PreemptLowerPriority"},
	}
}

// TestEveryKindIsServed makes, reads, changes and removes an object of each kind,
// in JSON and in a table, and again in protobuf what a client sends so.
func TestEveryKindIsServed(t *testing.T) {
	b := newBench(t)
	b.space("default")
	for path, sample := range samples(t) {
		code, _, body := b.do("POST", path, sample[0], "Content-Type", "application/json")
		if code != 201 {
			t.Errorf("%s: %d %s", path, code, body)
			continue
		}
		var table metav1.Table
		b.get(path+"/x", 200, &table, "Accept", "application/json;as=Table;v=v1;g=meta.k8s.io")
		if got := strings.Trim(fmt.Sprint(table.Rows[0].Cells), "[]"); !strings.HasPrefix(strings.ReplaceAll(got, "1s", "0s"), sample[1]) {
			t.Errorf("%s: row %q, not %q", path, got, sample[1])
		}
		if len(table.Rows[0].Cells) != len(table.ColumnDefinitions) {
			t.Errorf("%s: %d cells in %d columns", path, len(table.Rows[0].Cells), len(table.ColumnDefinitions))
		}
		code, _, body = b.do("PATCH", path+"/x", `{"metadata":{"labels":{"l":"1"}}}`, "Content-Type", "application/merge-patch+json")
		if code != 200 {
			t.Errorf("%s: patch: %d %s", path, code, body)
		}
		var o metav1.PartialObjectMetadata
		_ = json.Unmarshal([]byte(body), &o)
		if code, _, again := b.do("PUT", path+"/x", body, "Content-Type", "application/json"); code != 200 || !strings.Contains(again, `"resourceVersion":"`+o.ResourceVersion+`"`) {
			t.Errorf("%s: an update that changes nothing: %d %s", path, code, again)
		}
		code, _, proto := b.do("GET", path+"/x", "", "Accept", "application/vnd.kubernetes.protobuf")
		if code != 200 || !strings.HasPrefix(proto, "k8s\x00") {
			t.Errorf("%s: protobuf: %d", path, code)
		}
		if code, _, body := b.do("PUT", path+"/x", proto, "Content-Type", "application/vnd.kubernetes.protobuf"); code != 200 {
			t.Errorf("%s: protobuf back: %d %s", path, code, body)
		}
		if code, _, body := b.do("DELETE", path+"/x", ""); code != 200 {
			t.Errorf("%s: delete: %d %s", path, code, body)
		}
	}
}

// Kubernetes has kinds that an update makes when they are not there, and kinds whose
// updates must name a version: AllowCreateOnUpdate and AllowUnconditionalUpdate of its
// strategies.
func TestUpdatesByKind(t *testing.T) {
	b := newBench(t)
	b.space("default")
	const about = `"involvedObject":{"kind":"Pod","namespace":"default","name":"p"}`
	all := samples(t)
	all["/api/v1/namespaces/default/events"] = [2]string{`{"apiVersion":"v1","kind":"Event","metadata":{"name":"x"},` + about + `}`}
	all["/apis/events.k8s.io/v1/namespaces/default/events"] = [2]string{`{"apiVersion":"events.k8s.io/v1","kind":"Event","metadata":{"name":"x"},
		"eventTime":"2026-01-01T00:00:00.000000Z","reportingController":"example.com/c","reportingInstance":"i","action":"Do","reason":"Done","type":"Normal",
		"regarding":{"kind":"Pod","namespace":"default","name":"p"}}`}
	makes := map[string]bool{"clusterroles": true, "clusterrolebindings": true, "roles": true, "rolebindings": true, "leases": true,
		"limitranges": true, "events": true, "services": true, "endpoints": true, "runtimeclasses": true}
	versioned := map[string]bool{"leases": true, "runtimeclasses": true, "clustertrustbundles": true}
	for at, sample := range all {
		send := func(method, url, body string, want int, text string) {
			t.Helper()
			if code, _, answer := b.do(method, url, body, "Content-Type", "application/json"); code != want || !strings.Contains(answer, text) {
				t.Errorf("%s %s: %d %s, not %d %s", method, url, code, answer, want, text)
			}
		}
		name := path.Base(at)
		if makes[name] {
			send("PUT", at+"/x", strings.Replace(sample[0], `"name":"x"`, `"name":"x","uid":"u"`, 1), 409, "Precondition failed: UID in precondition: u, UID in object meta: ")
			send("PUT", at+"/x?dryRun=All", sample[0], 201, `"uid"`)
			send("GET", at+"/x", "", 404, "")
			send("PUT", at+"/x", strings.Replace(sample[0], `"name":"x"`, `"name":"x","resourceVersion":"1"`, 1), 201, `"uid"`)
		} else {
			send("PUT", at+"/x", sample[0], 404, `"reason":"NotFound"`)
			send("POST", at, sample[0], 201, "")
		}
		if versioned[name] {
			send("PUT", at+"/x", sample[0], 422, `\"x\" is invalid: metadata.resourceVersion: Invalid value: 0: must be specified for an update`)
		} else {
			send("PUT", at+"/x", sample[0], 200, "")
		}
		send("DELETE", at+"/x", "", 200, "")
	}
}

func TestDiscoveryHasTheGroups(t *testing.T) {
	b := newBench(t)
	groups, resources, err := b.client("").Discovery().ServerGroupsAndResources()
	if err != nil {
		t.Fatal(err)
	}
	if len(groups) < 7 {
		t.Errorf("groups: %v", groups)
	}
	found := make(map[string]bool)
	for _, list := range resources {
		for _, r := range list.APIResources {
			found[list.GroupVersion+" "+r.Name] = true
		}
	}
	for _, want := range []string{"v1 pods", "v1 pods/log", "v1 namespaces/finalize", "coordination.k8s.io/v1 leases", "rbac.authorization.k8s.io/v1 roles"} {
		if !found[want] {
			t.Errorf("no %s in %v", want, found)
		}
	}
	var doc struct {
		Paths map[string]struct {
			URL string `json:"serverRelativeURL"`
		} `json:"paths"`
	}
	b.get("/openapi/v3", 200, &doc)
	for path, p := range doc.Paths {
		b.get(p.URL, 200, nil)
		b.get("/"+path, 200, nil)
	}
	if len(doc.Paths) < 7 {
		t.Errorf("documents: %v", doc.Paths)
	}
	b.get("/apis/rbac.authorization.k8s.io", 200, nil)
	b.get("/apis/nothing.example.com", 404, nil)
	b.get("/apis/rbac.authorization.k8s.io/v1/pods", 404, nil)
}

// Clients keep a document that they asked for with its hash, of a program that has a
// version; another version has another hash.
func TestClientsKeepOpenAPIDocuments(t *testing.T) {
	b := newBench(t)
	const path = "/openapi/v3/api/v1"
	hashes := make(map[string]bool)
	for _, program := range []string{"", "v1", "v2"} {
		b.server.cfg.Program = program
		hash := b.server.openAPIHash()
		hashes[hash] = true
		for url, want := range map[string]bool{path: false, path + "?hash=0": false, path + "?hash=" + hash: program != ""} {
			code, h, _ := b.do("GET", url, "")
			expires, _ := http.ParseTime(h.Get("Expires"))
			if kept := strings.Contains(h.Get("Cache-Control"), "immutable") && expires.After(time.Now()); code != 200 || kept != want {
				t.Errorf("%q: %s: %d, Cache-Control %q, Expires %q", program, url, code, h.Get("Cache-Control"), h.Get("Expires"))
			}
		}
	}
	if len(hashes) != 3 {
		t.Errorf("hashes: %v", hashes)
	}
}

func TestInformersOfNamedGroups(t *testing.T) {
	b := newBench(t)
	b.space("default")
	c := b.client("")
	leases := c.CoordinationV1().Leases("default")
	lease, err := leases.Create(t.Context(), &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: "l"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	factory := informers.NewSharedInformerFactory(c, 0)
	lister := factory.Coordination().V1().Leases().Lister()
	services := factory.Core().V1().Services().Lister()
	factory.Start(t.Context().Done())
	factory.WaitForCacheSync(t.Context().Done())
	lease.Spec.HolderIdentity = ptr.To("me")
	if _, err := leases.Update(t.Context(), lease, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	b.eventually("me", func() string {
		l, err := lister.Leases("default").Get("l")
		if err != nil {
			return err.Error()
		}
		return ptr.Deref(l.Spec.HolderIdentity, "")
	})
	if _, err := services.Services("default").Get("s"); !apierrors.IsNotFound(err) {
		t.Error(err)
	}
	_, err = leases.Update(t.Context(), lease, metav1.UpdateOptions{})
	if !apierrors.IsConflict(err) || !strings.Contains(err.Error(), `leases.coordination.k8s.io "l"`) {
		t.Errorf("a stale update: %v", err)
	}
	if _, err := leases.Get(t.Context(), "z", metav1.GetOptions{}); err == nil || !strings.Contains(err.Error(), `leases.coordination.k8s.io "z" not found`) {
		t.Error(err)
	}
	if _, err := c.CoreV1().Events("default").Create(t.Context(), &corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{Name: "e"},
		InvolvedObject: corev1.ObjectReference{Kind: "Pod", Namespace: "default", Name: "p"}, Reason: "Made",
	}, metav1.CreateOptions{}); err != nil {
		t.Error(err)
	}
}
