// SPDX-License-Identifier: Apache-2.0

package store

import (
	"bytes"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// On a full disk writes are refused with a status that says so; reads, watches and
// small writes go on as far as they can, and all is well when there is room again.
func TestFullDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("a file system of its own needs root")
	}
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=2m"); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	}()
	path := filepath.Join(dir, "state.db")
	s, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	p := pod("p")
	if err := s.Create("pods", p); err != nil {
		t.Fatal(err)
	}
	filler := filepath.Join(dir, "filler")
	fill(t, filler)
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "s"}, Data: map[string][]byte{"x": bytes.Repeat([]byte{'x'}, 256<<10)}}
	for range 3 {
		revision := s.Revision()
		err := s.Create("secrets", secret)
		var status apierrors.APIStatus
		if err == nil || !asStatus(err, &status) || status.Status().Code != http.StatusInsufficientStorage {
			t.Fatalf("a write to a full disk: %v", err)
		}
		if s.Revision() != revision || secret.ResourceVersion != "" {
			t.Errorf("revision %d after %d, the object's is %q", s.Revision(), revision, secret.ResourceVersion)
		}
		var got corev1.Pod
		if err := s.Get("pods", "default", "p", &got); err != nil || got.ResourceVersion != p.ResourceVersion {
			t.Errorf("a read: %v", err)
		}
		if err := s.Get("secrets", "default", "s", &corev1.Secret{}); !apierrors.IsNotFound(err) {
			t.Errorf("what was refused is there: %v", err)
		}
	}
	if failed := s.Stats().Failed; failed != 3 {
		t.Errorf("%d writes have failed", failed)
	}
	w := s.Watch("secrets", s.Revision())
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	if err := s.Create("secrets", secret); err != nil {
		t.Fatalf("with room again: %v", err)
	}
	if e, err := w.Next(t.Context()); err != nil || e.Object.GetName() != "s" {
		t.Errorf("the watch: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s, err = Open(path); err != nil {
		t.Fatal(err)
	}
	var got corev1.Secret
	if err := s.Get("secrets", "default", "s", &got); err != nil || len(got.Data["x"]) != 256<<10 {
		t.Errorf("after opening again: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func asStatus(err error, status *apierrors.APIStatus) bool {
	s, ok := err.(apierrors.APIStatus)
	*status = s
	return ok
}

// fill writes until nothing more fits.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for size := 64 << 10; size >= 1; size /= 2 {
		for err = nil; err == nil; {
			_, err = f.Write(make([]byte, size))
		}
	}
}
