// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// TestTold: statuses come in the kubelet's order, and all messages of a Pod share 12 KiB.
func TestTold(t *testing.T) {
	w := newWorld(podOptions{restartPolicy: "Never", init: []string{"z", "i"}, app: []string{"c", "a"}, grace: 30})
	w.debug("e")
	w.debug("d")
	w.sandboxes = []Sandbox{{ID: "sandbox-0", State: Running}}
	const limit = 12 << 10 / 6
	for name, message := range map[string]string{"z": "brief", "i": strings.Repeat("x", limit), "c": strings.Repeat("x", limit+1), "a": strings.Repeat("x", limit-1) + "\u00e9"} {
		w.containers = append(w.containers, Container{
			ID: name, Name: name, State: Exited, SandboxID: "sandbox-0", SpecHash: "v1", StartedAt: epoch, FinishedAt: epoch, Message: message,
		})
	}
	s := Decide(w.input()).Status
	var names []string
	for _, list := range [][]corev1.ContainerStatus{s.InitContainerStatuses, s.ContainerStatuses, s.EphemeralContainerStatuses} {
		for i := range list {
			names = append(names, list[i].Name)
		}
	}
	if got := strings.Join(names, " "); got != "z i a c d e" {
		t.Errorf("order %s", got)
	}
	for name, want := range map[string]int{"z": 5, "i": limit, "c": limit, "a": limit - 1} {
		c := findStatus(append(s.InitContainerStatuses, s.ContainerStatuses...), name)
		if got := len(c.State.Terminated.Message); got != want {
			t.Errorf("%s has a message of %d bytes, want %d", name, got, want)
		}
	}
}
