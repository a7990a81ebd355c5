// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"os"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// TestLogsOfOthersStay has the logs of a Pod that is not the node's in its log
// directory, as those of a kubelet or of another agent may be.
func TestLogsOfOthersStay(t *testing.T) {
	n := newNode(t)
	other := n.path("log", "kube-system_dns-0_0a1b2c3d-0000-4000-8000-000000000001")
	if err := os.Mkdir(other, 0o755); err != nil {
		t.Fatal(err)
	}
	n.start()
	n.apply("own.yaml", podHead("own")+"\n  restartPolicy: Never\n  containers:\n  - {name: c, image: busybox, imagePullPolicy: IfNotPresent, command: ['true']}\n")
	n.awaitPhase("own", corev1.PodSucceeded)
	n.remove("own.yaml")
	n.awaitGone("own")
	n.terminate()
	if _, err := os.Stat(other); err != nil {
		t.Errorf("somebody else's logs: %v", err)
	}
	left, err := os.ReadDir(n.path("log"))
	if err != nil || len(left) != 1 {
		t.Errorf("in the log directory: %v, %v", left, err)
	}
	if err := os.Remove(other); err != nil {
		t.Error(err)
	}
}
