// SPDX-License-Identifier: Apache-2.0

package claims

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/minikubelet/minikubelet/store"
)

// TestCapacityIsEnforced: a volume is kept to its size before a Pod has it, follows its
// claim's growth, and is freed of it before it goes; where that cannot be done, somebody
// is told, and it works all the same.
func TestCapacityIsEnforced(t *testing.T) {
	for _, can := range []bool{true, false} {
		t.Run(fmt.Sprintf("can be %v", can), func(t *testing.T) {
			s, err := store.Open(filepath.Join(t.TempDir(), "state.db"))
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			var did, told []string
			cfg := Config{
				Store: s, Node: "n1", Dir: t.TempDir(), Log: slog.New(slog.DiscardHandler),
				Tell: func(_ corev1.ObjectReference, _, reason, _ string) { told = append(told, reason) },
				Bound: func(dir string, bytes int64) error {
					if !can {
						return ErrNotBounded
					}
					did = append(did, fmt.Sprint(bytes>>20))
					return nil
				},
				Remove: func(_ context.Context, dir string) error {
					did = append(did, "remove")
					return os.RemoveAll(dir)
				},
			}
			settle := func() {
				t.Helper()
				if err := Settle(t.Context(), cfg); err != nil {
					t.Fatal(err)
				}
			}
			size := func(q string) corev1.ResourceList {
				return corev1.ResourceList{corev1.ResourceStorage: resource.MustParse(q)}
			}
			if err := s.Create(classes, &storagev1.StorageClass{
				ObjectMeta: metav1.ObjectMeta{Name: "c"}, Provisioner: Provisioner, AllowVolumeExpansion: ptr.To(true),
			}); err != nil {
				t.Fatal(err)
			}
			claim := &corev1.PersistentVolumeClaim{
				ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "c", UID: "u"},
				Spec: corev1.PersistentVolumeClaimSpec{
					StorageClassName: ptr.To("c"), AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
					Resources: corev1.VolumeResourceRequirements{Requests: size("1Mi")},
				},
			}
			if err := s.Create(claims, claim); err != nil {
				t.Fatal(err)
			}
			settle()
			volume := func() *corev1.PersistentVolume {
				t.Helper()
				var pv corev1.PersistentVolume
				if err := s.Get(volumes, "", "pvc-u", &pv); err != nil {
					t.Fatal(err)
				}
				return &pv
			}
			if got, want := volume().Annotations[annBounded], map[bool]string{true: "1Mi"}[can]; got != want {
				t.Errorf("enforced capacity %q, want %q", got, want)
			}
			if got := slices.Contains(told, "CapacityNotEnforced"); got == can {
				t.Errorf("told %v", told)
			}

			if err := s.Get(claims, "n", "c", claim); err != nil {
				t.Fatal(err)
			}
			claim.Spec.Resources.Requests = size("3Mi")
			if err := s.Update(claims, claim); err != nil {
				t.Fatal(err)
			}
			settle()
			if got, want := volume().Annotations[annBounded], map[bool]string{true: "3Mi"}[can]; got != want {
				t.Errorf("after growth %q, want %q", got, want)
			}

			if err := s.Get(claims, "n", "c", claim); err != nil {
				t.Fatal(err)
			}
			claim.DeletionTimestamp = ptr.To(metav1.Now())
			if err := s.Update(claims, claim); err != nil {
				t.Fatal(err)
			}
			settle()
			want := "remove"
			if can {
				want = "1 3 0 remove"
			}
			if got := strings.Join(did, " "); got != want {
				t.Errorf("done: %s, want %s", got, want)
			}
		})
	}
}
