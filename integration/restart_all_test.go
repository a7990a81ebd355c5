// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// TestRestartAllContainers: a rule with this action restarts everything in the same
// sandbox: the init container runs again, volumes and the Pod's address stay, and the
// restart counts go on.
func TestRestartAllContainers(t *testing.T) {
	n := startNode(t)
	n.apply("again.yaml", podOf("again", "restartPolicy: Never",
		inits(sh("prepare", "echo prepare >>/v/order", onV)),
		apps(
			sh("other", `trap "echo stop >>/v/order; exit 0" TERM; echo other >>/v/order; while :; do sleep 0.1; done`, onV),
			sh("app", `until [ $(grep -c other /v/order) = $(grep -c prepare /v/order) ]; do sleep 0.1; done; cat /v/order; echo end; [ $(grep -c prepare /v/order) = 2 ] || exit 42; `+forever, onV,
				"restartPolicy: Never", "restartPolicyRules: [{action: RestartAllContainers, exitCodes: {operator: In, values: [42]}}]"),
		), diskV))
	pod := n.awaitPod("again", "everything runs again", func(p *corev1.Pod) bool {
		return running(p, "other", 1) && running(p, "app", 1)
	})
	lines := n.awaitLine(pod, "app", 1, "end")
	if want := []string{"prepare", "other", "stop", "prepare", "other", "end"}; !slices.Equal(lines, want) {
		t.Errorf("order %q", lines)
	}
	if s := status(&pod, "prepare"); s.RestartCount != 1 || !s.Ready {
		t.Errorf("init container: %+v", s)
	}
	if last := status(&pod, "other").LastTerminationState.Terminated; last == nil || last.Reason != "RestartingAllContainers" || last.ExitCode != 137 {
		t.Errorf("the other container's last state: %+v", last)
	}
	if last := status(&pod, "app").LastTerminationState.Terminated; last == nil || last.ExitCode != 42 {
		t.Errorf("the asking container's last state: %+v", last)
	}
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.AllContainersRestarting && c.Status != corev1.ConditionFalse {
			t.Errorf("condition: %+v", c)
		}
	}
}
