// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/minikubelet/minikubelet/api"
	"github.com/minikubelet/minikubelet/store"
)

// fileBench is a manifest directory over a store of its own.
type fileBench struct {
	t   *testing.T
	dir string
	s   *store.Store
	m   *manifests
	log strings.Builder
}

func newFileBench(t *testing.T) *fileBench {
	t.Helper()
	s, err := store.Open(filepath.Join(t.TempDir(), "state.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	b := &fileBench{t: t, dir: t.TempDir(), s: s}
	b.m = newManifests(b.dir, "n1", s, nil, slog.New(slog.NewTextHandler(&b.log, nil)))
	return b
}

// write writes a file, or removes it when it has no text, and looks.
func (b *fileBench) write(name, text string) {
	b.t.Helper()
	path := filepath.Join(b.dir, name)
	if text == "" {
		_ = os.Remove(path)
	} else if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		b.t.Fatal(err)
	}
	changed := time.Now().Add(time.Duration(b.s.Revision()) * time.Second) // coarse clocks
	_ = os.Chtimes(path, changed, changed)
	if err := b.m.look(); err != nil {
		b.t.Fatal(err)
	}
}

// have tells what is stored.
func (b *fileBench) have() string {
	b.t.Helper()
	var out []string
	for _, kind := range api.ManifestKinds() {
		list, err := objectsOf(b.s, &kind)
		if err != nil {
			b.t.Fatal(err)
		}
		for _, o := range list {
			text := kind.Kind + " " + strings.TrimPrefix(o.GetNamespace()+"/"+o.GetName(), "/")
			switch o := o.(type) {
			case *corev1.ConfigMap:
				text += fmt.Sprint(" ", o.Data)
			case *corev1.PersistentVolumeClaim:
				text += fmt.Sprint(" ", o.Spec.VolumeName, " ", o.Spec.Resources.Requests.Storage(), " ", o.Labels)
			case *corev1.Secret:
				text += fmt.Sprint(" ", string(o.Data["k"]))
			}
			if o.GetDeletionTimestamp() != nil {
				text += " ending"
			}
			if f := o.GetAnnotations()[annotationFile]; f != "" {
				text += " from " + filepath.Base(f)
			}
			out = append(out, text)
		}
	}
	return strings.Join(out, "; ")
}

func TestFilesBringObjects(t *testing.T) {
	b := newFileBench(t)
	check := func(want string) {
		t.Helper()
		if got := b.have(); got != want {
			t.Errorf("stored\n %s\nnot\n %s\n%s", got, want, b.log.String())
		}
	}
	b.write("a.yaml", `
{apiVersion: v1, kind: ConfigMap, metadata: {name: c, namespace: x}, data: {k: "1"}}
---
{apiVersion: v1, kind: Secret, metadata: {name: s}, stringData: {k: text}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: x}}
`)
	check("Namespace x from a.yaml; ConfigMap x/c map[k:1] from a.yaml; Secret default/s text from a.yaml")
	b.write("b.yaml", "{apiVersion: v1, kind: ConfigMap, metadata: {name: d}, data: {k: '1'}, immutable: true}")
	b.write("b.yaml", "{apiVersion: v1, kind: ConfigMap, metadata: {name: d}, data: {k: '2'}, immutable: true}")
	check("Namespace x from a.yaml; ConfigMap default/d map[k:2] from b.yaml; ConfigMap x/c map[k:1] from a.yaml; Secret default/s text from a.yaml")
	b.write("b.yaml", "broken: [")
	b.write("a.yaml", "{apiVersion: v1, kind: ConfigMap, metadata: {name: c, namespace: x}, data: {k: '3'}}")
	check("Namespace x ending from a.yaml; ConfigMap default/d map[k:2] from b.yaml; ConfigMap x/c map[k:3] from a.yaml")
	b.write("b.yaml", "")
	b.write("a.yaml", "")
	check("Namespace x ending from a.yaml")
}

func TestFilesDoNotTakeWhatIsAnothers(t *testing.T) {
	b := newFileBench(t)
	if err := b.s.Create("configmaps", &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "c"}}); err != nil {
		t.Fatal(err)
	}
	a := &Agent{store: b.s}
	if err := a.putNamespace("default"); err != nil {
		t.Fatal(err)
	}
	b.write("a.yaml", `[{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"c"},"data":{"k":"1"}},
		{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"default","labels":{"l":"1"}}}]`)
	if got, want := b.have(), "Namespace default from a.yaml; ConfigMap default/c map[]"; got != want {
		t.Errorf("stored %s, not %s", got, want)
	}
	if !strings.Contains(b.log.String(), "there is already configmaps default/c that is not from a file") {
		t.Errorf("it is not told: %s", b.log.String())
	}
	b.write("a.yaml", "")
	if got, want := b.have(), "Namespace default; ConfigMap default/c map[]"; got != want {
		t.Errorf("stored %s, not %s", got, want)
	}
}

// TestFilesDoNotTakeData: a claim stays when its file goes, and its namespace with it;
// the next file takes it over as it is bound; one that has to be another claim does not.
func TestFilesDoNotTakeData(t *testing.T) {
	b := newFileBench(t)
	check := func(want string) {
		t.Helper()
		if got := b.have(); got != want {
			t.Errorf("stored\n %s\nnot\n %s\n%s", got, want, b.log.String())
		}
	}
	claim := func(size, meta string) string {
		return "{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: c, namespace: x" + meta + "}, spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: " + size + "}}}}"
	}
	b.write("n.yaml", "{apiVersion: v1, kind: Namespace, metadata: {name: x}}")
	b.write("a.yaml", claim("1Gi", ""))
	check("Namespace x from n.yaml; PersistentVolumeClaim x/c  1Gi map[] from a.yaml")
	var c corev1.PersistentVolumeClaim // as the controller binds it
	if err := b.s.Get("persistentvolumeclaims", "x", "c", &c); err != nil {
		t.Fatal(err)
	}
	c.Spec.VolumeName, c.Spec.StorageClassName, c.Status.Phase = "pv", new(string), corev1.ClaimBound
	c.Finalizers = []string{"kubernetes.io/pvc-protection"}
	c.Annotations["pv.kubernetes.io/bind-completed"] = "yes"
	if err := b.s.Update("persistentvolumeclaims", &c); err != nil {
		t.Fatal(err)
	}
	b.write("a.yaml", claim("1Gi", ", labels: {l: '1'}"))
	check("Namespace x from n.yaml; PersistentVolumeClaim x/c pv 1Gi map[l:1] from a.yaml")
	var after corev1.PersistentVolumeClaim
	if err := b.s.Get("persistentvolumeclaims", "x", "c", &after); err != nil {
		t.Fatal(err)
	}
	if after.UID != c.UID || len(after.Finalizers) != 1 || after.Annotations["pv.kubernetes.io/bind-completed"] != "yes" || after.Status.Phase != corev1.ClaimBound || after.Spec.StorageClassName == nil {
		t.Errorf("the change of a label took more along: %+v", after)
	}

	for _, other := range []string{claim("2Gi", ""), strings.Replace(claim("1Gi", ""), "ReadWriteOnce", "ReadWriteMany", 1)} {
		b.write("a.yaml", other)
		check("Namespace x from n.yaml; PersistentVolumeClaim x/c pv 1Gi map[l:1] from a.yaml")
	}
	for _, want := range []string{"a claim from a manifest cannot grow", "spec is immutable after creation", "that would cost its data"} {
		if !strings.Contains(b.log.String(), want) {
			t.Errorf("it is not told that %s: %s", want, b.log.String())
		}
	}

	b.write("a.yaml", "")
	b.write("n.yaml", "")
	check("Namespace x; PersistentVolumeClaim x/c pv 1Gi map[l:1]")
	b.write("b.yaml", claim("1Gi", ", annotations: {minikubelet/when-removed: Delete}"))
	check("Namespace x; PersistentVolumeClaim x/c pv 1Gi map[] from b.yaml")
	b.write("b.yaml", "")
	check("Namespace x; PersistentVolumeClaim x/c pv 1Gi map[] ending from b.yaml")
}
