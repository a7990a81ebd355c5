// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// TestKubectlNode cordons, taints, labels and drains the node.
func TestKubectlNode(t *testing.T) {
	kubectlPath(t)
	n := startNode(t)
	apply := func(name string) {
		t.Helper()
		if out, err := n.tryKubectl(strings.Replace(ticker, "name: ticker,", "name: "+name+",", 1), "apply", "-f", "-"); err != nil {
			t.Fatalf("%v %s", err, out)
		}
	}
	apply("first")
	n.expect(`condition met`, "wait", "--for=condition=Ready", "pod/first", "--timeout=60s")
	n.expect(`node/n1 labeled`, "label", "node", "n1", "disk=fast")
	n.expect(`node/n1 cordoned`, "cordon", "n1")
	n.expect(`n1 Ready,SchedulingDisabled`, "get", "nodes")
	apply("second")
	n.expect(`second 0/1 Pending 0 \w+ <none> <none>`, "get", "pod", "second", "-o", "wide")
	n.eventually("the event says why", func() bool {
		out, err := n.tryKubectl("", "describe", "pod", "second")
		return err == nil && strings.Contains(out, "FailedScheduling") && strings.Contains(out, "1 node(s) were unschedulable")
	})
	n.expect(`node/n1 uncordoned`, "uncordon", "n1")
	n.expect(`condition met`, "wait", "--for=condition=Ready", "pod/second", "--timeout=60s")
	n.eventually("the node's events", func() bool {
		all := n.nodeEvents()
		return slices.Contains(all, "NodeNotSchedulable") && slices.Contains(all, "NodeSchedulable")
	})
	n.expect(`node/n1 tainted`, "taint", "node", "n1", "k=v:NoSchedule")
	n.expect(`Taints: k=v:NoSchedule`, "describe", "node", "n1")
	n.expect(`node/n1 untainted`, "taint", "node", "n1", "k-")
	n.expect(`(?s)evicting pod default/first.*node/n1 drained`, "drain", "n1", "--force", "--timeout=60s")
	n.expect(`No resources found`, "get", "pods")
	n.terminate()
	n.start()
	n.expect(`n1 Ready,SchedulingDisabled`, "get", "nodes", "-l", "disk=fast")
}

// TestNodeAffinity: Pods that name the node themselves, and those of manifests, fail on
// a node that they do not select; others wait for it.
func TestNodeAffinity(t *testing.T) {
	kubectlPath(t)
	n := startNode(t)
	n.kubectl("label", "node", "n1", "disk=ssd")
	app := apps(sh("a", forever))
	const wants, has = "nodeSelector: {disk: hdd}", "nodeSelector: {disk: ssd, kubernetes.io/os: linux, beta.kubernetes.io/os: linux}"
	required := func(op string) string {
		return "affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: disk, operator: " + op + ", values: [ssd]}]}]}}}"
	}
	n.must(podOf("named", "nodeName: n1", wants, app))
	n.must(podOf("affine", "nodeName: n1", required("NotIn"), app))
	n.must(podOf("named-good", "nodeName: n1", has, required("In"), app))
	n.must(podOf("waits", wants, app))
	n.apply("file.yaml", podOf("file", wants, app))
	n.apply("file-good.yaml", podOf("file-good", has, app))
	for _, name := range []string{"named", "affine", "file"} {
		p := n.awaitPhase(name, corev1.PodFailed)
		if p.Status.Reason != "NodeAffinity" || p.Status.Message != "Pod was rejected: Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector" {
			t.Errorf("%s: %s: %s", name, p.Status.Reason, p.Status.Message)
		}
		n.awaitEvent(name, "NodeAffinity: Predicate NodeAffinity failed")
	}
	n.expect(`named 0/1 NodeAffinity 0 \w+`, "get", "pod", "named")
	n.awaitRunning("named-good")
	n.awaitRunning("file-good")
	n.expect(`waits 0/1 Pending 0 \w+`, "get", "pod", "waits")
	n.kubectl("label", "node", "n1", "disk=hdd", "--overwrite")
	n.awaitRunning("waits")
	// What runs goes on, also with the next agent.
	n.kill()
	n.start()
	for _, name := range []string{"named-good", "file-good", "waits"} {
		if p := n.awaitRunning(name); status(&p, "a").RestartCount != 0 {
			t.Errorf("%s was restarted", name)
		}
	}
	n.kubectl("taint", "node", "n1", "k=v:NoExecute")
	n.must(podOf("tainted", "nodeName: n1", app))
	if p := n.awaitPhase("tainted", corev1.PodFailed); p.Status.Reason != "TaintToleration" {
		t.Errorf("%s: %s", p.Status.Reason, p.Status.Message)
	}
}
