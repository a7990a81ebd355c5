// SPDX-License-Identifier: Apache-2.0

package store

import (
	"path/filepath"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestStatsCountWhatWasWritten(t *testing.T) {
	s, err := Open(filepath.Join(t.TempDir(), "state.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if before := s.Stats(); before.Commits != 0 || before.Bytes == 0 {
		t.Errorf("a new store: %+v", before)
	}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "b"}}
	if err := s.Create("pods", pod); err != nil {
		t.Fatal(err)
	}
	if err := s.Create("pods", pod.DeepCopy()); err == nil {
		t.Fatal("created twice")
	}
	w := s.Watch("pods", 0)
	defer w.Close()
	after := s.Stats()
	if after.Commits != 1 || after.Writes != 1 || after.Failed != 0 || after.CommitTime <= 0 || after.Watchers != 1 || after.Revision != 1 {
		t.Errorf("after one write and one that was refused: %+v", after)
	}
}
