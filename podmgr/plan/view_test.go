// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// TestWasStarted tells attempts that ran from those that only waited for it.
func TestWasStarted(t *testing.T) {
	reported := &corev1.ContainerStatus{ContainerID: containerID("x"), State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}
	for name, c := range map[string]struct {
		container Container
		last      *corev1.ContainerStatus
		want      bool
	}{
		"waits for its start":           {container: Container{State: Created}},
		"runs":                          {container: Container{State: Running, StartedAt: epoch}, want: true},
		"ran":                           {container: Container{State: Exited, StartedAt: epoch, FinishedAt: epoch}, want: true},
		"could not be started":          {container: Container{State: Exited, ExitCode: startErrorExit, FinishedAt: epoch}, want: true},
		"was killed while it waited":    {container: Container{State: Exited, ExitCode: 137, FinishedAt: epoch}},
		"is lost":                       {container: Container{State: Unknown}},
		"is lost after its start":       {container: Container{State: Unknown, StartedAt: epoch}, want: true},
		"is lost, and was seen running": {container: Container{ID: "x", State: Unknown}, last: reported, want: true},
	} {
		if got := wasStarted(&c.container, c.last); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
