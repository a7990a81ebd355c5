// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"testing"
	"time"

	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

func TestClaimsTakeTheDefaultStorageClass(t *testing.T) {
	b := newBench(t)
	b.space("default")
	create := func(class *string) string {
		t.Helper()
		c := claim("c-", "1Gi")
		c.Spec.StorageClassName = class
		c, err := b.client("").CoreV1().PersistentVolumeClaims("default").Create(t.Context(), c, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return ptr.Deref(c.Spec.StorageClassName, "none")
	}
	if got := create(nil); got != "none" {
		t.Errorf("without a default: %s", got)
	}
	now := time.Now()
	for name, made := range map[string]time.Time{"a-old": now.Add(-time.Hour), "b-new": now, "c-new": now} {
		b.put("storageclasses", &storagev1.StorageClass{
			ObjectMeta:  metav1.ObjectMeta{Name: name, CreationTimestamp: metav1.NewTime(made), Annotations: map[string]string{annotationDefaultClass: "true"}},
			Provisioner: "example.com/p",
		})
	}
	for want, class := range map[string]*string{"b-new": nil, "": ptr.To(""), "mine": ptr.To("mine")} {
		if got := create(class); got != want {
			t.Errorf("%q: %s", want, got)
		}
	}
}
