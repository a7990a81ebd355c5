// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func open(t *testing.T, path string) *Store {
	t.Helper()
	s, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func pod(name string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}}
}

func TestObjectsSurviveAndVersionsNeverGoBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	s := open(t, path)
	p := pod("a")
	if err := s.Create("pods", p); err != nil {
		t.Fatal(err)
	}
	if err := s.Create("pods", pod("a")); !apierrors.IsAlreadyExists(err) {
		t.Fatalf("second create: %v", err)
	}
	first := p.ResourceVersion
	p.Labels = map[string]string{"x": "y"}
	if err := s.Update("pods", p); err != nil || p.ResourceVersion == first {
		t.Fatalf("update: %v, version %s", err, p.ResourceVersion)
	}
	stale := pod("a")
	stale.ResourceVersion = first
	if err := s.Update("pods", stale); !apierrors.IsConflict(err) || stale.ResourceVersion != first {
		t.Fatalf("stale update: %v, version %s", err, stale.ResourceVersion)
	}
	revision := s.Revision()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	s = open(t, path)
	if s.Revision() != revision {
		t.Fatalf("revision %d after reopening, was %d", s.Revision(), revision)
	}
	var got corev1.Pod
	if err := s.Get("pods", "default", "a", &got); err != nil || got.Labels["x"] != "y" {
		t.Fatalf("get: %v %v", err, got.Labels)
	}
	if err := s.Delete("pods", &got); err != nil {
		t.Fatal(err)
	}
	if err := s.Get("pods", "default", "a", &got); !apierrors.IsNotFound(err) {
		t.Fatalf("get after delete: %v", err)
	}
}

func TestSecondOpenIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	open(t, path)
	if _, err := Open(path); !errors.Is(err, ErrLocked) {
		t.Fatalf("second open: %v", err)
	}
}

func TestWatchSeesEveryChangeInOrder(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "state.db"))
	const writers, each = 4, 50
	w := s.Watch("pods", 0)
	defer w.Close()
	var wg sync.WaitGroup
	for i := range writers {
		wg.Go(func() {
			for j := range each {
				if err := s.Create("pods", pod(fmt.Sprintf("p-%d-%d", i, j))); err != nil {
					t.Error(err)
				}
				if err := s.Create("other", pod(fmt.Sprintf("o-%d-%d", i, j))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	var last uint64
	for range writers * each {
		e, err := w.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if e.Revision <= last || e.Resource != "pods" {
			t.Fatalf("event %d of %s after %d", e.Revision, e.Resource, last)
		}
		last = e.Revision
	}
	wg.Wait()
}

func TestWatchThatFellBehindIsTold(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "state.db"))
	s.ring = newRing(2, ringBytes)
	w := s.Watch("pods", 0)
	for i := range 4 {
		if err := s.Create("pods", pod(fmt.Sprint("p", i))); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.Next(t.Context()); !errors.Is(err, ErrTooOld) {
		t.Fatalf("next: %v", err)
	}
	w.Close()
	if _, err := s.Watch("pods", 4).Next(canceled()); !errors.Is(err, context.Canceled) {
		t.Fatalf("next of an idle watch: %v", err)
	}
}

func TestEventsTellWhatWasBefore(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.db")
	s := open(t, path)
	p := pod("a")
	p.Labels = map[string]string{"x": "1"}
	if err := s.Create("pods", p); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, path) // what was before is on disk only
	first := s.Revision()
	p.Labels["x"] = "2"
	if err := s.Update("pods", p); err != nil {
		t.Fatal(err)
	}
	if err := s.Delete("pods", pod("a")); err != nil { // a stub, as who deletes by name has it
		t.Fatal(err)
	}
	if err := s.Create("pods", pod("b")); err != nil {
		t.Fatal(err)
	}
	w := s.Watch("pods", first)
	defer w.Close()
	for _, want := range []string{"MODIFIED 1 2 2", "DELETED 2 2 3", "ADDED - - 4"} {
		e, err := w.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		label := func(o Object) string {
			if o == nil || o.GetLabels()["x"] == "" {
				return "-"
			}
			return o.GetLabels()["x"]
		}
		if got := fmt.Sprint(e.Type, " ", label(e.Previous), " ", label(e.Object), " ", e.Object.GetResourceVersion()); got != want {
			t.Errorf("%s, not %s", got, want)
		}
	}
	then := func(at uint64) (string, error) {
		var out []string
		err := s.ScanAt("pods", "", "", at, func(key string, data Data) error {
			var p corev1.Pod
			err := data.Into(&p)
			out = append(out, key+" "+p.Labels["x"])
			return err
		})
		return strings.Join(out, ", "), err
	}
	for at, want := range map[uint64]string{first: "default/a 1", first + 1: "default/a 2", first + 2: "", first + 3: "default/b "} {
		if got, err := then(at); err != nil || got != want {
			t.Errorf("at %d: %q, not %q, %v", at, got, want, err)
		}
	}
	if _, err := then(first - 1); !errors.Is(err, ErrTooOld) {
		t.Errorf("before what is kept: %v", err)
	}
}

func TestListByNamespace(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "state.db"))
	for _, ns := range []string{"a", "ab", "b"} {
		p := pod("x")
		p.Namespace = ns
		if err := s.Create("pods", p); err != nil {
			t.Fatal(err)
		}
	}
	count := func(ns string) (names []string) {
		_, err := s.List("pods", ns, func(data Data) error {
			var p corev1.Pod
			if err := data.Into(&p); err != nil {
				return err
			}
			names = append(names, p.Namespace)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return names
	}
	if got := fmt.Sprint(count("a"), count("")); got != "[a] [a ab b]" {
		t.Fatal(got)
	}
}

func canceled() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}
