// SPDX-License-Identifier: Apache-2.0

package store

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// A large object that changes again and again must not fill the memory: what is kept
// is bounded in bytes, too.
func TestLargeChangesAreBounded(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "state.db"))
	const size, changes = 64 << 10, 100
	s.ring.maxBytes = 10 * size
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "s"}}
	if err := s.Create("secrets", secret); err != nil {
		t.Fatal(err)
	}
	if err := s.Create("pods", pod("p")); err != nil {
		t.Fatal(err)
	}
	quiet := s.Watch("pods", s.Revision())
	defer quiet.Close()
	slow := s.Watch("secrets", s.Revision())
	defer slow.Close()
	for i := range changes {
		secret.Data = map[string][]byte{"x": bytes.Repeat([]byte{byte(i)}, size)}
		if err := s.Update("secrets", secret); err != nil {
			t.Fatal(err)
		}
		if s.ring.bytes > s.ring.maxBytes || len(s.ring.records) == 0 {
			t.Fatalf("%d bytes in %d changes are kept", s.ring.bytes, len(s.ring.records))
		}
	}
	kept, held := 0, make(map[*byte]bool)
	for _, r := range s.ring.records {
		for _, b := range [][]byte{r.object, r.previous} {
			if len(b) > 0 && !held[&b[0]] {
				held[&b[0]] = true
				kept += len(b)
			}
		}
	}
	if kept > s.ring.maxBytes*6/10 {
		t.Errorf("an object and the next one's previous are not the same bytes: %d", kept)
	}
	if len(s.ring.newest) > len(s.ring.records) {
		t.Errorf("%d newest objects of %d changes", len(s.ring.newest), len(s.ring.records))
	}
	if _, err := slow.Next(t.Context()); !errors.Is(err, ErrTooOld) {
		t.Errorf("the slow watch: %v", err)
	}
	// Changes of others do not make a watch too old.
	if err := s.Delete("pods", pod("p")); err != nil {
		t.Fatal(err)
	}
	if e, err := quiet.Next(t.Context()); err != nil || e.Type != Deleted {
		t.Errorf("the quiet watch: %v %v", e.Type, err)
	}
}

// An object larger than all that may be kept is still handed out.
func TestChangeLargerThanTheRing(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "state.db"))
	s.ring.maxBytes = 1
	w := s.Watch("pods", 0)
	defer w.Close()
	for i := range 3 {
		if err := s.Create("pods", pod(fmt.Sprint("p", i))); err != nil {
			t.Fatal(err)
		}
		if e, err := w.Next(t.Context()); err != nil || e.Object.GetName() != fmt.Sprint("p", i) {
			t.Fatal(err)
		}
	}
}

// Old changes are read from what is at rest, and are the same.
func TestOldEventsAreTheSame(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "state.db"))
	const changes = 3*freshEvents + 1
	p := pod("a")
	for i := range changes {
		p.Labels = map[string]string{"n": fmt.Sprint(i)}
		write := s.Update
		if i == 0 {
			write = s.Create
		}
		if err := write("pods", p); err != nil {
			t.Fatal(err)
		}
	}
	w := s.Watch("pods", 0)
	defer w.Close()
	for i := range changes {
		e, err := w.Next(t.Context())
		if err != nil || e.Object.GetLabels()["n"] != fmt.Sprint(i) || e.Object.GetResourceVersion() != version(e.Revision) {
			t.Fatalf("change %d: %v %v", i, e.Object, err)
		}
		if i > 0 && e.Previous.GetLabels()["n"] != fmt.Sprint(i-1) {
			t.Fatalf("before change %d: %v", i, e.Previous)
		}
	}
	fresh := 0
	for _, r := range s.ring.records {
		if r.event != nil {
			fresh++
		}
	}
	if fresh > freshEvents {
		t.Errorf("%d events are kept as objects", fresh)
	}
}

// note is an object that is not of Kubernetes' API and embeds a part that is.
type note struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Text              string `json:"text"`
}

func (n *note) DeepCopyObject() runtime.Object {
	c := *n
	n.ObjectMeta.DeepCopyInto(&c.ObjectMeta)
	return &c
}

func TestFormsAtRest(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "state.db"))
	n := &note{ObjectMeta: metav1.ObjectMeta{Name: "n"}, Text: "all of it"}
	p := pod("p")
	p.Spec.Containers = []corev1.Container{{Name: "c"}}
	if err := errors.Join(s.Create("notes", n), s.Create("pods", p)); err != nil {
		t.Fatal(err)
	}
	got := &note{Text: "before"}
	if err := s.Get("notes", "", "n", got); err != nil || got.Text != "all of it" {
		t.Errorf("%+v, %v", got, err)
	}
	// The metadata of any kind, and nothing of what out had before.
	m := metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"old": "x"}}}
	if err := s.Get("pods", "default", "p", &m); err != nil || m.Name != "p" || m.ResourceVersion != p.ResourceVersion || m.Labels != nil {
		t.Errorf("%+v, %v", m, err)
	}
	for text, ok := range map[string]bool{
		`{"metadata":{"name":"p","resourceVersion":"7"}}`: true, // as earlier versions wrote
		"": false, "\x02short": false, "\x09123456789": false,
	} {
		var back corev1.Pod
		err := Data{[]byte(text)}.Into(&back)
		if (err == nil) != ok || ok && (back.Name != "p" || checkVersion("pods", "p", "7", &Data{[]byte(text)}) != nil) {
			t.Errorf("%q: %v", text, err)
		}
	}
}
