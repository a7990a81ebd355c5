// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"strings"
	"testing"
)

// TestKubectlNode cordons, taints, labels and drains the node.
func TestKubectlNode(t *testing.T) {
	kubectlPath(t)
	n := newNode(t)
	n.start()
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
	n.expect(`node/n1 tainted`, "taint", "node", "n1", "k=v:NoSchedule")
	n.expect(`Taints: k=v:NoSchedule`, "describe", "node", "n1")
	n.expect(`node/n1 untainted`, "taint", "node", "n1", "k-")
	n.expect(`(?s)evicting pod default/first.*node/n1 drained`, "drain", "n1", "--force", "--timeout=60s")
	n.expect(`No resources found`, "get", "pods")
	n.terminate()
	n.start()
	n.expect(`n1 Ready,SchedulingDisabled`, "get", "nodes", "-l", "disk=fast")
}
