// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/minikubelet/minikubelet/apiserver/token"
	"github.com/minikubelet/minikubelet/store"
)

// TestSecretsGetTokens makes Secrets for tokens before and after their ServiceAccounts,
// empties them, and takes the ServiceAccounts away.
func TestSecretsGetTokens(t *testing.T) {
	dir := t.TempDir()
	s, err := store.Open(filepath.Join(dir, "state.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	tokens, err := token.Open(filepath.Join(dir, "key"), func(path string, data []byte) error { return os.WriteFile(path, data, 0o600) }, s)
	if err != nil {
		t.Fatal(err)
	}
	a := &accountTokens{store: s, tokens: tokens, ca: func() []byte { return []byte("the CA") },
		failed: func(s *corev1.Secret, err error) { t.Errorf("%s: %v", s.Name, err) }}
	account := func(name string) *corev1.ServiceAccount {
		o := &corev1.ServiceAccount{ObjectMeta: newMeta("n", name)}
		if err := s.Create(serviceAccounts, o); err != nil {
			t.Fatal(err)
		}
		return o
	}
	add := func(name, account string, kind corev1.SecretType, change func(m *metav1.ObjectMeta)) {
		o := &corev1.Secret{ObjectMeta: newMeta("n", name), Type: kind}
		o.Annotations = map[string]string{corev1.ServiceAccountNameKey: account}
		if change != nil {
			change(&o.ObjectMeta)
		}
		if err := s.Create(secrets, o); err != nil {
			t.Fatal(err)
		}
	}
	const kind = corev1.SecretTypeServiceAccountToken
	robot := account("robot")
	add("early", "robot", kind, nil)
	add("opaque", "robot", corev1.SecretTypeOpaque, nil)
	add("file", "nobody", kind, func(m *metav1.ObjectMeta) { m.Annotations[annotationSource] = "file" })
	add("former", "robot", kind, func(m *metav1.ObjectMeta) { m.Annotations[corev1.ServiceAccountUIDKey] = "another" })
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	changes := s.Watch(secrets, s.Revision())
	defer changes.Close()
	go func() { done <- a.keep(ctx) }()
	get := func(name string) *corev1.Secret {
		var o corev1.Secret
		err := s.Get(secrets, "n", name, &o)
		if apierrors.IsNotFound(err) {
			return nil
		}
		if err != nil {
			t.Fatal(err)
		}
		return &o
	}
	until := func(what string, ok func() bool) {
		t.Helper()
		ctx, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		for !ok() {
			if _, err := changes.Next(ctx); err != nil {
				t.Fatalf("%s: %v", what, err)
			}
		}
	}
	full := func(name string) func() bool {
		return func() bool {
			o := get(name)
			if o == nil || o.Annotations[corev1.ServiceAccountUIDKey] != string(robot.UID) || string(o.Data["ca.crt"]) != "the CA" || string(o.Data["namespace"]) != "n" {
				return false
			}
			who, err := tokens.Verify(string(o.Data["token"]), nil)
			return err == nil && who.Name == "robot"
		}
	}
	until("one that was there", full("early"))
	until("one of an account before this one", func() bool { return get("former") == nil })
	add("late", "robot", kind, nil)
	until("one that has come", full("late"))
	add("without", "nobody", kind, nil)
	until("one without an account", func() bool { return get("without") == nil })

	emptied := get("late")
	old := string(emptied.Data["token"])
	emptied.Data = nil
	if err := s.Update(secrets, emptied); err != nil {
		t.Fatal(err)
	}
	until("one that was emptied", full("late"))
	if _, err := tokens.Verify(old, nil); err == nil {
		t.Error("a token that is in no Secret any more is taken")
	}
	if o := get("opaque"); len(o.Data) != 0 {
		t.Errorf("one of another type: %v", o.Data)
	}
	if o := get("file"); o == nil || len(o.Data) != 0 {
		t.Errorf("one from a file: %v", o)
	}
	last := string(get("early").Data["token"])
	if err := s.Delete(serviceAccounts, robot); err != nil {
		t.Fatal(err)
	}
	until("without the account", func() bool { return get("early") == nil && get("late") == nil })
	if _, err := tokens.Verify(last, nil); err == nil {
		t.Error("a token without its account is taken")
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
