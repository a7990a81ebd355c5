// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// TestReadinessGates: a Pod with a gate is ready when its containers are and somebody
// has set the condition, which stays over the agent's restart.
func TestReadinessGates(t *testing.T) {
	kubectlPath(t)
	n := startNode(t)
	manifest := podOf("gated", "readinessGates: [{conditionType: example.com/fed}]",
		"securityContext: {runAsUser: 1000, runAsGroup: 1001, supplementalGroups: [1002]}", apps(sh("main", forever)))
	if out, err := n.tryKubectl(manifest, "create", "-f", "-"); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	pod := n.awaitPod("gated", "its containers are ready", func(p *corev1.Pod) bool {
		c := podCondition(p, corev1.ContainersReady)
		return c != nil && c.Status == corev1.ConditionTrue
	})
	if c := podCondition(&pod, corev1.PodReady); c.Status != corev1.ConditionFalse || c.Reason != "ReadinessGatesNotReady" ||
		c.Message != `corresponding condition of pod readiness gate "example.com/fed" does not exist.` {
		t.Errorf("before: %+v", c)
	}
	if u := status(&pod, "main").User; u == nil || u.Linux.UID != 1000 || u.Linux.GID != 1001 || !slices.Contains(u.Linux.SupplementalGroups, 1002) {
		t.Errorf("user: %+v", u)
	}
	isReady := func(p *corev1.Pod) bool {
		c, own := podCondition(p, corev1.PodReady), podCondition(p, "example.com/fed")
		return c != nil && c.Status == corev1.ConditionTrue && own != nil && own.Status == corev1.ConditionTrue
	}
	n.kubectl("patch", "pod", "gated", "--subresource=status", "-p", `{"status":{"conditions":[{"type":"example.com/fed","status":"True"}]}}`)
	n.awaitPod("gated", "it is ready", isReady)
	n.kill()
	n.start()
	n.awaitPod("gated", "it is still ready", isReady)
	n.kubectl("patch", "pod", "gated", "--subresource=status", "-p", `{"status":{"conditions":[{"type":"example.com/fed","status":"False"}]}}`)
	n.awaitPod("gated", "it is not ready any more", func(p *corev1.Pod) bool {
		return !isReady(p) && podCondition(p, corev1.PodReady).Status == corev1.ConditionFalse
	})
	n.kubectl("delete", "pod", "gated", "--grace-period=0", "--force")
}
