// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// nodeCondition is a condition of the node.
func (n *node) nodeCondition(kind corev1.NodeConditionType) corev1.NodeCondition {
	n.t.Helper()
	var object corev1.Node
	if err := n.get("/api/v1/nodes/"+nodeName, &object); err != nil {
		n.t.Fatal(err)
	}
	for _, c := range object.Status.Conditions {
		if c.Type == kind {
			return c
		}
	}
	return corev1.NodeCondition{}
}

// nodeEvents are the reasons of what was told of the node.
func (n *node) nodeEvents() []string {
	n.t.Helper()
	var list corev1.EventList
	if err := n.get("/api/v1/events", &list); err != nil {
		n.t.Fatal(err)
	}
	var out []string
	for _, e := range list.Items {
		if e.InvolvedObject.Kind == "Node" {
			out = append(out, e.Reason)
		}
	}
	return out
}

// TestANodeUnderPressureEvicts puts the node short of process IDs, by a threshold
// that no machine keeps: the ordinary Pod goes, the critical one stays, new ones are
// refused, and nobody comes back with the next agent.
func TestANodeUnderPressureEvicts(t *testing.T) {
	n := startNode(t)
	n.create(podOf("plain", apps(sh("app", forever))))
	n.create(podOf("critical", "priorityClassName: system-node-critical", apps(sh("app", forever))))
	n.awaitRunning("plain")
	n.awaitRunning("critical")
	for _, kind := range []corev1.NodeConditionType{corev1.NodeMemoryPressure, corev1.NodeDiskPressure, corev1.NodePIDPressure} {
		if c := n.nodeCondition(kind); c.Status != corev1.ConditionFalse {
			t.Errorf("before: %+v", c)
		}
	}
	n.terminate()
	flags := n.flags
	n.flags = append(slices.Clone(flags), "--eviction-hard", "pid.available<1000000000")
	n.start()
	plain := n.awaitPhase("plain", corev1.PodFailed)
	if plain.Status.Reason != "Evicted" || !strings.HasPrefix(plain.Status.Message, "The node was low on resource: pids. Threshold quantity: 1G, available: ") {
		t.Errorf("%s: %s", plain.Status.Reason, plain.Status.Message)
	}
	if c := condition(&plain, corev1.DisruptionTarget); c.Reason != corev1.PodReasonTerminationByKubelet || c.Message != plain.Status.Message {
		t.Errorf("%+v", c)
	}
	if c := n.nodeCondition(corev1.NodePIDPressure); c.Status != corev1.ConditionTrue || c.Reason != "KubeletHasInsufficientPID" {
		t.Errorf("%+v", c)
	}
	if taints := n.nodeObject().Spec.Taints; len(taints) != 1 || taints[0].Key != corev1.TaintNodePIDPressure || taints[0].Effect != corev1.TaintEffectNoSchedule {
		t.Errorf("taints %v", taints)
	}
	n.create(podOf("waits", apps(sh("app", forever))))
	n.awaitPod("waits", "is not scheduled", func(p *corev1.Pod) bool {
		c := condition(p, corev1.PodScheduled)
		return c.Reason == corev1.PodReasonUnschedulable && strings.Contains(c.Message, "untolerated taint")
	})
	n.apply("late.yaml", podOf("late", apps(sh("app", forever))))
	late := n.awaitPhase("late", corev1.PodFailed)
	if late.Status.Reason != "Evicted" || late.Status.Message != "Pod was rejected: The node had condition: [PIDPressure]. " {
		t.Errorf("%s: %q", late.Status.Reason, late.Status.Message)
	}
	n.eventually("the node's events", func() bool {
		all := n.nodeEvents()
		return slices.Contains(all, "NodeHasInsufficientPID") && slices.Contains(all, "EvictionThresholdMet")
	})
	n.kill()
	n.flags = flags
	n.start()
	n.awaitRunning("critical")
	n.awaitRunning("waits")
	if taints := n.nodeObject().Spec.Taints; len(taints) != 0 {
		t.Errorf("taints after a restart: %v", taints)
	}
	if p := n.pods()["plain"]; p.Status.Phase != corev1.PodFailed || p.Status.Reason != "Evicted" {
		t.Errorf("after a restart: %s %s", p.Status.Phase, p.Status.Reason)
	}
}

// TestLimitsOfLocalStorage evicts Pods whose files are more than they may be.
func TestLimitsOfLocalStorage(t *testing.T) {
	n := startNode(t)
	fill := "dd if=/dev/zero of=%s bs=1M count=3 2>/dev/null; " + forever
	var shown []string // more than the Pod's limit, but in memory
	for i := range 6 {
		name := fmt.Sprint("large", i)
		n.applied(secret(name, "k: "+strings.Repeat("x", 190<<10)))
		shown = append(shown, fmt.Sprintf("{name: %s, secret: {secretName: %[1]s}}", name))
	}
	n.create(podOf("shown", "volumes: ["+strings.Join(shown, ", ")+"]",
		apps(sh("app", forever, "volumeMounts: [{name: large0, mountPath: /v}]", "resources: {limits: {ephemeral-storage: 1Mi}}"))))
	n.awaitRunning("shown")
	n.create(podOf("volume", "volumes: [{name: v, emptyDir: {sizeLimit: 1Mi}}]", apps(sh("app", strings.Replace(fill, "%s", "/v/file", 1), onV))))
	n.create(podOf("layer", apps(
		sh("app", strings.Replace(fill, "%s", "/file", 1), "resources: {limits: {ephemeral-storage: 1Mi}}"),
		sh("other", forever, "resources: {limits: {ephemeral-storage: 1Gi}}"))))
	n.create(podOf("modest", "volumes: [{name: v, emptyDir: {sizeLimit: 1Gi}}]", apps(sh("app", strings.Replace(fill, "%s", "/v/file", 1), onV))))
	for name, want := range map[string]string{
		"volume": `Usage of EmptyDir volume "v" exceeds the limit "1Mi". `,
		"layer":  `Container app exceeded its local ephemeral storage limit "1Mi". `,
	} {
		pod := n.awaitPhase(name, corev1.PodFailed)
		if pod.Status.Reason != "Evicted" || pod.Status.Message != want || condition(&pod, corev1.DisruptionTarget).Type != "" {
			t.Errorf("%s: %s: %q %+v", name, pod.Status.Reason, pod.Status.Message, pod.Status.Conditions)
		}
	}
	n.awaitRunning("modest")
	for _, name := range []string{"modest", "shown"} {
		if p := n.pods()[name]; p.Status.Phase != corev1.PodRunning {
			t.Errorf("%s is %s: %s", name, p.Status.Phase, p.Status.Message)
		}
	}
}

// TestACriticalPodPreempts: what does not fit is refused, but for a critical Pod
// others go.
func TestACriticalPodPreempts(t *testing.T) {
	n := startNode(t, "--max-pods", "2")
	n.create(podOf("first", apps(sh("app", forever))))
	n.create(podOf("second", apps(sh("app", forever, "resources: {requests: {cpu: 10m}}"))))
	n.awaitRunning("first")
	n.awaitRunning("second")
	n.create(podOf("third", apps(sh("app", forever))))
	if p := n.awaitPhase("third", corev1.PodFailed); p.Status.Reason != "OutOfpods" {
		t.Errorf("%s: %s", p.Status.Reason, p.Status.Message)
	}
	n.create(podOf("critical", "priorityClassName: system-node-critical", apps(sh("app", forever))))
	n.awaitRunning("critical")
	first := n.awaitPhase("first", corev1.PodFailed)
	if first.Status.Reason != "Preempting" || first.Status.Message != "Preempted in order to admit critical pod" {
		t.Errorf("%s: %s", first.Status.Reason, first.Status.Message)
	}
	if p := n.awaitRunning("second"); p.Status.Phase != corev1.PodRunning {
		t.Errorf("second is %s", p.Status.Phase)
	}
}
