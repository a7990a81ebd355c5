// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/minikubelet/minikubelet/store"
)

// TestNamespacesGetAccountsAndCA removes and changes what each namespace has.
func TestNamespacesGetAccountsAndCA(t *testing.T) {
	s, err := store.Open(filepath.Join(t.TempDir(), "state.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	a := &accounts{store: s, ca: func() []byte { return []byte("the CA") }, failed: func(n string, err error) { t.Errorf("%s: %v", n, err) }}
	add := func(name string, phase corev1.NamespacePhase) {
		if err := s.Create(namespaces, &corev1.Namespace{ObjectMeta: newMeta("", name), Status: corev1.NamespaceStatus{Phase: phase}}); err != nil {
			t.Fatal(err)
		}
	}
	add("before", corev1.NamespaceActive)
	add("ending", corev1.NamespaceTerminating)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- a.keep(ctx) }()
	changes := make(chan struct{})
	for _, resource := range []string{serviceAccounts, configMaps} {
		w := s.Watch(resource, 0)
		defer w.Close()
		go func() {
			for {
				if _, err := w.Next(ctx); err != nil {
					return
				}
				select {
				case changes <- struct{}{}:
				case <-ctx.Done():
				}
			}
		}()
	}
	until := func(what string, ok func() bool) {
		t.Helper()
		for !ok() {
			select {
			case <-changes:
			case <-time.After(time.Minute):
				t.Fatalf("%s: nothing happens", what)
			}
		}
	}
	var account corev1.ServiceAccount
	var ca corev1.ConfigMap
	both := func(namespace string) func() bool {
		return func() bool {
			ca = corev1.ConfigMap{}
			return s.Get(serviceAccounts, namespace, defaultAccount, &account) == nil &&
				s.Get(configMaps, namespace, rootCA, &ca) == nil && ca.Data[rootCAKey] == "the CA" && len(ca.Data) == 1
		}
	}
	until("one that was there", both("before"))
	add("after", corev1.NamespaceActive)
	until("one that has come", both("after"))
	uid := account.UID
	if err := s.Delete(serviceAccounts, &account); err != nil {
		t.Fatal(err)
	}
	until("without its account", func() bool { return both("after")() && account.UID != uid })
	ca.Data[rootCAKey] = "another"
	if err := s.Update(configMaps, &ca); err != nil {
		t.Fatal(err)
	}
	until("with a wrong CA", both("after"))
	if err := s.Delete(configMaps, &ca); err != nil {
		t.Fatal(err)
	}
	until("without the CA", both("after"))
	if both("ending")() {
		t.Error("a namespace that ends has got something")
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}
