// SPDX-License-Identifier: Apache-2.0

package podmgr

import (
	"path/filepath"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/minikubelet/minikubelet/store"
)

// TestRequestDeletion: a Pod without a node goes at once, unless finalizers keep it.
func TestRequestDeletion(t *testing.T) {
	s, err := store.Open(filepath.Join(t.TempDir(), "state.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for name, tt := range map[string]struct {
		node       string
		finalizers []string
		stays      bool
	}{
		"placed": {node: "n1", stays: true},
		"waits":  {},
		"held":   {finalizers: []string{"example.com/held"}, stays: true},
	} {
		p := &corev1.Pod{
			TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Finalizers: tt.finalizers},
			Spec:       corev1.PodSpec{NodeName: tt.node},
		}
		if err := s.Create(Pods, p); err != nil {
			t.Fatal(err)
		}
		for range 2 { // asking again changes nothing
			if err := RequestDeletion(s, "default", name, ptr.To[int64](3)); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		var now corev1.Pod
		err := s.Get(Pods, "default", name, &now)
		switch {
		case tt.stays && (err != nil || now.DeletionTimestamp == nil || ptr.Deref(now.DeletionGracePeriodSeconds, -1) != 3):
			t.Errorf("%s: %v %+v", name, err, now.ObjectMeta)
		case !tt.stays && !apierrors.IsNotFound(err):
			t.Errorf("%s is still there: %v", name, err)
		}
	}
}
