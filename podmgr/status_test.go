// SPDX-License-Identifier: Apache-2.0

package podmgr

import (
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// TestFailedStatusIsWrittenLater has a disk that is full for a minute, in which the
// Pod's status does not change any more.
func TestFailedStatusIsWrittenLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sw := newStatusWriter(nil, new(corev1.Pod), slog.New(slog.DiscardHandler))
		defer sw.stop()
		free := time.Now().Add(time.Minute)
		var stored []corev1.PodPhase
		sw.write = func(status *corev1.PodStatus) error {
			if time.Now().Before(free) {
				return errors.New("no space left on device")
			}
			stored = append(stored, status.Phase)
			return nil
		}
		sw.set(corev1.PodStatus{Phase: corev1.PodPending})
		time.Sleep(time.Second)
		sw.set(corev1.PodStatus{Phase: corev1.PodRunning})
		time.Sleep(time.Minute + statusRetry)
		synctest.Wait()
		if len(stored) != 1 || stored[0] != corev1.PodRunning {
			t.Errorf("stored %v, not the last status once", stored)
		}
	})
}
