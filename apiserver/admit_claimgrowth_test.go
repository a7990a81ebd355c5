// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

func TestClaimsAskForMore(t *testing.T) {
	b := newBench(t)
	b.space("default")
	for name, grows := range map[string]*bool{"grows": ptr.To(true), "stays": ptr.To(false), "silent": nil} {
		b.put("storageclasses", &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: name}, Provisioner: "example.com/p", AllowVolumeExpansion: grows})
	}
	const cannot = "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize"
	for i, tt := range []struct {
		class string
		phase corev1.PersistentVolumeClaimPhase
		size  string
		want  string // of the error; empty: done
	}{
		{"grows", corev1.ClaimBound, "3Gi", ""},
		{"grows", corev1.ClaimBound, "2Gi", ""},
		{"grows", corev1.ClaimBound, "1Gi", "field can not be less than status.capacity"},
		{"grows", corev1.ClaimPending, "3Gi", "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"},
		{"stays", corev1.ClaimBound, "3Gi", cannot},
		{"stays", corev1.ClaimBound, "2Gi", ""},
		{"silent", corev1.ClaimBound, "3Gi", cannot},
		{"missing", corev1.ClaimBound, "3Gi", cannot},
		{"", corev1.ClaimBound, "3Gi", cannot},
	} {
		c := claim("c-", "2Gi")
		c.Spec.StorageClassName = &tt.class
		claims := b.client("").CoreV1().PersistentVolumeClaims("default")
		c, err := claims.Create(t.Context(), c, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		c.Status.Phase, c.Status.Capacity = tt.phase, list("storage=2Gi")
		if c, err = claims.UpdateStatus(t.Context(), c, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		c.Spec.Resources.Requests = list("storage=" + tt.size)
		_, err = claims.Update(t.Context(), c, metav1.UpdateOptions{})
		if (err != nil) != (tt.want != "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%d: %v, want %q", i, err, tt.want)
		}
		now, err := claims.Get(t.Context(), c.Name, metav1.GetOptions{})
		want := tt.size
		if tt.want != "" {
			want = "2Gi"
		}
		if got := now.Spec.Resources.Requests.Storage().String(); err != nil || got != want {
			t.Errorf("%d: %v, asks for %s, want %s", i, err, got, want)
		}
	}
}
