// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"context"
	"encoding/json"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/minikubelet/minikubelet/store"
)

func TestPodsAreReadOverTheSocket(t *testing.T) {
	s, err := store.Open(filepath.Join(t.TempDir(), "state.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "a"}}
	if err := s.Create("pods", pod); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "api.sock")
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("socket: %v, mode %v", err, info.Mode())
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- Serve(ctx, l, Handler(s), slog.New(slog.DiscardHandler)) }()
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}}}
	get := func(url string, code int, into any) {
		t.Helper()
		r, err := client.Get("http://node" + url)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		if r.StatusCode != code {
			t.Fatalf("GET %s: %s", url, r.Status)
		}
		if into != nil {
			if err := json.NewDecoder(r.Body).Decode(into); err != nil {
				t.Fatal(err)
			}
		}
	}
	var list corev1.PodList
	get("/api/v1/pods", 200, &list)
	if len(list.Items) != 1 || list.Items[0].Name != "a" || list.ResourceVersion != pod.ResourceVersion || list.Kind != "PodList" {
		t.Fatalf("list %+v", list)
	}
	get("/api/v1/namespaces/other/pods", 200, &list)
	if len(list.Items) != 0 {
		t.Fatalf("list of another namespace: %+v", list)
	}
	var status metav1.Status
	get("/api/v1/namespaces/default/pods/b", 404, &status)
	if status.Reason != metav1.StatusReasonNotFound || status.Kind != "Status" {
		t.Fatalf("status %+v", status)
	}
	get("/apis", 404, &status)
	get("/healthz", 200, nil)
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}
