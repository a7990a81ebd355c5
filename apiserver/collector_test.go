// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/ptr"

	"github.com/minikubelet/minikubelet/store"
)

// collect runs the garbage collector.
func (b *bench) collect() {
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.server.Collect(ctx) }()
	b.t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			b.t.Error(err)
		}
	})
}

// maps are the names of all ConfigMaps, with their finalizers and owners.
func (b *bench) maps() string {
	b.t.Helper()
	var out []string
	_, err := b.store.List("configmaps", "", func(data store.Data) error {
		var c corev1.ConfigMap
		err := data.Into(&c)
		text := c.Name
		for _, f := range c.Finalizers {
			text += " " + f
		}
		for _, r := range c.OwnerReferences {
			text += " of " + r.Name
		}
		out = append(out, text)
		return err
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return strings.Join(out, "; ")
}

// eventually waits until the ConfigMaps are as said.
func (b *bench) eventually(what string, now func() string) {
	b.t.Helper()
	var have string
	for range 3000 {
		if have = now(); have == what {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	b.t.Fatalf("%q, not %q", have, what)
}

// configMap makes one that is owned by others.
func configMap(t *testing.T, c kubernetes.Interface, name string, finalizers []string, owners ...*corev1.ConfigMap) *corev1.ConfigMap {
	t.Helper()
	o := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name, Finalizers: finalizers}}
	for _, owner := range owners {
		o.OwnerReferences = append(o.OwnerReferences, metav1.OwnerReference{
			APIVersion: "v1", Kind: "ConfigMap", Name: owner.Name, UID: owner.UID, BlockOwnerDeletion: ptr.To(true),
		})
	}
	o, err := c.CoreV1().ConfigMaps("default").Create(t.Context(), o, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func TestDependentsFollowTheirOwners(t *testing.T) {
	const hold = "example.com/hold"
	for policy, want := range map[metav1.DeletionPropagation]string{ // the other owner holds it
		metav1.DeletePropagationBackground: "b; held example.com/hold of b",
		metav1.DeletePropagationForeground: "b; held example.com/hold of b",
		metav1.DeletePropagationOrphan:     "b; child; held example.com/hold of b",
	} {
		t.Run(string(policy), func(t *testing.T) {
			b := newBench(t)
			b.space("default")
			c := b.client("")
			owner, other := configMap(t, c, "a", nil), configMap(t, c, "b", nil)
			configMap(t, c, "child", nil, owner)
			configMap(t, c, "held", []string{hold}, other, owner)
			if err := c.CoreV1().ConfigMaps("default").Delete(t.Context(), "a", metav1.DeleteOptions{PropagationPolicy: &policy}); err != nil {
				t.Fatal(err)
			}
			b.collect()
			b.eventually(want, b.maps)
		})
	}
}

func TestForegroundWaitsForItsDependents(t *testing.T) {
	b := newBench(t)
	b.space("default")
	b.collect()
	c := b.client("")
	maps := c.CoreV1().ConfigMaps("default")
	owner := configMap(t, c, "a", nil)
	child := configMap(t, c, "c", []string{"example.com/hold"}, owner)
	if err := maps.Delete(t.Context(), "a", metav1.DeleteOptions{PropagationPolicy: ptr.To(metav1.DeletePropagationForeground)}); err != nil {
		t.Fatal(err)
	}
	b.eventually("true", func() string {
		now, err := maps.Get(t.Context(), "c", metav1.GetOptions{})
		return fmt.Sprint(err == nil && now.DeletionTimestamp != nil)
	})
	if got, want := b.maps(), "a foregroundDeletion; c example.com/hold of a"; got != want {
		t.Fatalf("%s, not %s", got, want)
	}
	// No finalizer may be added to what is deleted; the last one ends it.
	_, err := maps.Patch(t.Context(), child.Name, types.JSONPatchType, []byte(`[{"op":"add","path":"/metadata/finalizers/-","value":"x.y/z"}]`), metav1.PatchOptions{})
	if !apierrors.IsInvalid(err) {
		t.Errorf("a finalizer was added to a deleted object: %v", err)
	}
	if _, err := maps.Patch(t.Context(), child.Name, types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	b.eventually("", b.maps)
}

// What one object's turn finds must not be left until the next change: the order in
// which the objects come is not the same each time.
func TestWhatWorkFindsIsDone(t *testing.T) {
	b := newBench(t)
	b.space("default")
	api := b.client("")
	c := &collector{s: b.server, byResource: make(map[string]*kind)}
	for _, k := range b.server.kinds {
		if k.name == "configmaps" {
			c.byResource[k.name] = k
		}
	}
	for i := range 64 {
		owner := configMap(t, api, fmt.Sprint("a", i), nil)
		child := configMap(t, api, fmt.Sprint("c", i), []string{"example.com/hold"}, owner)
		if err := api.CoreV1().ConfigMaps("default").Delete(t.Context(), owner.Name, metav1.DeleteOptions{PropagationPolicy: ptr.To(metav1.DeletePropagationForeground)}); err != nil {
			t.Fatal(err)
		}
		if err := c.begin(); err != nil {
			t.Fatal(err)
		}
		c.objects = map[id]bool{idOf(c.byResource["configmaps"], owner): true} // as when it alone has changed
		c.work()
		now, err := api.CoreV1().ConfigMaps("default").Get(t.Context(), child.Name, metav1.GetOptions{})
		if err != nil || now.DeletionTimestamp == nil {
			t.Fatalf("%s was found and not worked on: %v", child.Name, err)
		}
	}
}

func TestObjectsWithoutOwnersGo(t *testing.T) {
	b := newBench(t)
	b.space("default")
	c := b.client("")
	configMap(t, c, "orphan", nil, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "never", UID: "1"}})
	o := configMap(t, c, "foreign", nil)
	o.OwnerReferences = []metav1.OwnerReference{{APIVersion: "example.com/v1", Kind: "Thing", Name: "x", UID: "2"}}
	if _, err := c.CoreV1().ConfigMaps("default").Update(t.Context(), o, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	b.collect()
	b.eventually("foreign of x", b.maps)
}

func TestNamespacesTakeTheirContentsAlong(t *testing.T) {
	b := newBench(t)
	b.collect()
	c := b.client("")
	if _, err := c.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "space"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	held := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "c", Finalizers: []string{"example.com/hold"}}}
	if _, err := c.CoreV1().ConfigMaps("space").Create(t.Context(), held, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.CoreV1().Secrets("space").Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "s"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	b.pod("space", "p")
	if err := c.CoreV1().Namespaces().Delete(t.Context(), "space", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	condition := func(kind corev1.NamespaceConditionType) func() string {
		return func() string {
			n, err := c.CoreV1().Namespaces().Get(t.Context(), "space", metav1.GetOptions{})
			if err != nil {
				return err.Error()
			}
			i := slices.IndexFunc(n.Status.Conditions, func(c corev1.NamespaceCondition) bool { return c.Type == kind })
			if i < 0 {
				return ""
			}
			return string(n.Status.Phase) + " " + n.Status.Conditions[i].Message
		}
	}
	b.eventually("Terminating Some resources are remaining: pods. has 1 resource instances", condition(corev1.NamespaceContentRemaining))
	_, err := c.CoreV1().Secrets("space").Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "late"}}, metav1.CreateOptions{})
	if !apierrors.IsForbidden(err) || !apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) ||
		!strings.Contains(err.Error(), `secrets "late" is forbidden: unable to create new content in namespace space because it is being terminated`) {
		t.Errorf("created in an ending namespace: %v", err)
	}
	if err := c.CoreV1().Namespaces().Delete(t.Context(), "space", metav1.DeleteOptions{}); !apierrors.IsConflict(err) {
		t.Errorf("deleted again: %v", err)
	}
	var p corev1.Pod
	if err := b.store.Get("pods", "space", "p", &p); err != nil || p.DeletionTimestamp == nil {
		t.Fatalf("the Pod is not asked to end: %v", err)
	}
	if err := b.store.Delete("pods", &p); err != nil {
		t.Fatal(err)
	}
	b.eventually("Terminating Some content in the namespace has finalizers remaining: example.com/hold in 1 resource instances", condition(corev1.NamespaceFinalizersRemaining))
	if _, err := c.CoreV1().ConfigMaps("space").Patch(t.Context(), "c", types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	b.eventually(`namespaces "space" not found`, condition(corev1.NamespaceContentRemaining))
	if _, err := c.CoreV1().Secrets("space").Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "late"}}, metav1.CreateOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("created in no namespace: %v", err)
	}
}

func TestNamespacesThatStay(t *testing.T) {
	b := newBench(t)
	b.space("default", "filled")
	c := b.client("")
	if err := c.CoreV1().Namespaces().Delete(t.Context(), "default", metav1.DeleteOptions{}); !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "this namespace may not be deleted") {
		t.Errorf("default: %v", err)
	}
	file := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "filled", Name: "c", Annotations: map[string]string{annotationFile: "/m/c.yaml"}}}
	if err := b.store.Create("configmaps", file); err != nil {
		t.Fatal(err)
	}
	if err := c.CoreV1().Namespaces().Delete(t.Context(), "filled", metav1.DeleteOptions{}); !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "/m/c.yaml") {
		t.Errorf("filled: %v", err)
	}
}
