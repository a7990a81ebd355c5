// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
)

func TestConfigMapsAreWritten(t *testing.T) {
	for _, contentType := range contentTypes {
		b := newBench(t)
		b.space("default")
		maps := b.client(contentType).CoreV1().ConfigMaps("default")
		c, err := maps.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "a"}, Data: map[string]string{"k": "1"}}, metav1.CreateOptions{})
		if err != nil || c.UID == "" || c.ResourceVersion != "2" {
			t.Fatalf("%s: create: %v %v", contentType, c, err)
		}
		c, err = maps.Patch(t.Context(), "a", types.StrategicMergePatchType, []byte(`{"data":{"l":"2"}}`), metav1.PatchOptions{})
		if err != nil || fmt.Sprint(c.Data) != "map[k:1 l:2]" {
			t.Fatalf("%s: patch: %v %v", contentType, c, err)
		}
		c.Immutable = ptr.To(true)
		if c, err = maps.Update(t.Context(), c, metav1.UpdateOptions{}); err != nil {
			t.Fatalf("%s: update: %v", contentType, err)
		}
		c.Data["k"] = "3"
		if _, err = maps.Update(t.Context(), c, metav1.UpdateOptions{}); !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), "field is immutable when `immutable` is set") {
			t.Fatalf("%s: an immutable one was changed: %v", contentType, err)
		}
		_, err = maps.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "b"}, Data: map[string]string{"a/b": "1"}}, metav1.CreateOptions{})
		if !apierrors.IsInvalid(err) {
			t.Fatalf("%s: a wrong key was taken: %v", contentType, err)
		}
		if err := maps.Delete(t.Context(), "a", metav1.DeleteOptions{DryRun: []string{"All"}}); err != nil {
			t.Fatal(err)
		}
		if err := maps.Delete(t.Context(), "a", metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: ptr.To(types.UID("x"))}}); !apierrors.IsConflict(err) {
			t.Fatalf("%s: another object was deleted: %v", contentType, err)
		}
		if err := maps.Delete(t.Context(), "a", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		if _, err := maps.Get(t.Context(), "a", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
			t.Fatalf("%s: it is still there: %v", contentType, err)
		}
	}
}

func TestSecretsMergeTheirText(t *testing.T) {
	for _, contentType := range contentTypes {
		b := newBench(t)
		b.space("default")
		secrets := b.client(contentType).CoreV1().Secrets("default")
		s, err := secrets.Create(t.Context(), &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Name: "a"}, Data: map[string][]byte{"k": []byte("1"), "l": []byte("1")}, StringData: map[string]string{"k": "2"},
		}, metav1.CreateOptions{})
		if err != nil || s.Type != corev1.SecretTypeOpaque || string(s.Data["k"]) != "2" || string(s.Data["l"]) != "1" || s.StringData != nil {
			t.Fatalf("%s: create: %v %v", contentType, s, err)
		}
		s.Type = "other"
		if _, err = secrets.Update(t.Context(), s, metav1.UpdateOptions{}); !apierrors.IsInvalid(err) {
			t.Fatalf("%s: the type was changed: %v", contentType, err)
		}
		list, err := secrets.List(t.Context(), metav1.ListOptions{FieldSelector: "type=Opaque"})
		if err != nil || len(list.Items) != 1 {
			t.Fatalf("%s: list by type: %v %v", contentType, list, err)
		}
		if list, err = secrets.List(t.Context(), metav1.ListOptions{FieldSelector: "type!=Opaque"}); err != nil || len(list.Items) != 0 {
			t.Fatalf("%s: list by type: %v %v", contentType, list, err)
		}
		var table metav1.Table
		b.get("/api/v1/namespaces/default/secrets", 200, &table, "Accept", "application/json;as=Table;v=v1;g=meta.k8s.io")
		if cells := fmt.Sprint(table.Rows[0].Cells[:3]); cells != "[a Opaque 2]" {
			t.Errorf("cells %s", cells)
		}
		if err := secrets.DeleteCollection(t.Context(), metav1.DeleteOptions{}, metav1.ListOptions{}); err != nil {
			t.Fatal(err)
		}
	}
}
