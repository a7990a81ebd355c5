// SPDX-License-Identifier: Apache-2.0

package podmgr

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

func TestVolumesThatHangAreTold(t *testing.T) {
	told := make(chan string, 1)
	list := []corev1.Volume{{Name: "quick"}, {Name: "hangs"}, {Name: "waits"}}
	m := watchMounts(list, time.Hour, func(message string) { told <- message })
	m.began("quick")
	m.began("hangs")
	m.timer.Reset(0)
	want := "Unable to attach or mount volumes: unmounted volumes=[hangs waits], unattached volumes=[], failed to process volumes=[]: context deadline exceeded"
	if got := <-told; got != want {
		t.Errorf("told %q", got)
	}
	m.end()
}
