// SPDX-License-Identifier: Apache-2.0

package podmgr

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestOlderVersionsAreNotTaken: a Pod that came back has its predecessor's UID, and what
// was last told of that must not end it.
func TestOlderVersionsAreNotTaken(t *testing.T) {
	version := func(revision string) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: "u", ResourceVersion: revision}}
	}
	w := &worker{desired: version("9"), pod: version("9"), wake: make(chan struct{}, 1), changed: make(chan struct{})}
	old := version("8")
	old.DeletionTimestamp = &metav1.Time{}
	w.setPod(old)
	if w.desired.ResourceVersion != "9" || w.pod.DeletionTimestamp != nil || len(w.wake) > 0 {
		t.Errorf("version 8 was taken after 9: %+v", w.desired.ObjectMeta)
	}
	w.setPod(version("10"))
	if w.desired.ResourceVersion != "10" {
		t.Errorf("version 10 was not taken after 9: %+v", w.desired.ObjectMeta)
	}
}
