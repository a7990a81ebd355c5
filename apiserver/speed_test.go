// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"
)

// BenchmarkRequests is what a request costs the server, without a network.
func BenchmarkRequests(b *testing.B) {
	const pods = 200
	s := newBench(b)
	s.space("default")
	for i := range pods {
		p := fullPod(b)
		p.Name = fmt.Sprint("p", i)
		if err := s.store.Create("pods", p); err != nil {
			b.Fatal(err)
		}
	}
	handler := s.server.Trusted()
	do := func(b *testing.B, method, path, accept, kind, body string) {
		r := httptest.NewRequest(method, path, strings.NewReader(body))
		r.Header.Set("Accept", accept)
		r.Header.Set("Content-Type", kind)
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		if w.Code != http.StatusOK {
			b.Fatal(w.Code, w.Body.String())
		}
		b.SetBytes(int64(w.Body.Len()))
	}
	const proto, list = runtime.ContentTypeProtobuf, "/api/v1/namespaces/default/pods"
	run := func(name string, fn func(b *testing.B, i int)) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				fn(b, i)
			}
		})
	}
	run("get", func(b *testing.B, _ int) { do(b, "GET", list+"/p1", proto, "", "") })
	run("list", func(b *testing.B, _ int) { do(b, "GET", list, proto, "", "") })
	run("list-json", func(b *testing.B, _ int) { do(b, "GET", list, "application/json", "", "") })
	run("list-table", func(b *testing.B, _ int) {
		do(b, "GET", list, "application/json;as=Table;v=v1;g=meta.k8s.io", "", "")
	})
	patch := func(pod string) func(b *testing.B, i int) {
		return func(b *testing.B, i int) {
			do(b, "PATCH", list+"/"+pod, proto, "application/strategic-merge-patch+json", fmt.Sprintf(`{"status":{"conditions":[{"type":"example.com/bench","status":"True","message":"m%d"}]}}`, i))
		}
	}
	run("patch", patch("p1/status"))
	do(b, "PATCH", list+"/p2?fieldManager=owner", proto, "application/apply-patch+yaml", `{apiVersion: v1, kind: Pod, metadata: {name: p2, labels: {by: owner}}}`)
	run("patch-managed", patch("p2/status?fieldManager=bench"))
}

// fullPod is a Pod with all that one has that runs.
func fullPod(b *testing.B) *corev1.Pod {
	data, err := os.ReadFile("testdata/running-pod.yaml")
	if err != nil {
		b.Fatal(err)
	}
	p := new(corev1.Pod)
	if err := yaml.Unmarshal(data, p); err != nil {
		b.Fatal(err)
	}
	return p
}
