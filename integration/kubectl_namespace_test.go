// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// TestKubectlNamespace deletes a namespace with a running Pod, and a Pod that a
// finalizer and an owner hold.
func TestKubectlNamespace(t *testing.T) {
	kubectlPath(t)
	n := startNode(t)
	pod := strings.Replace(ticker, "name: ticker,", "name: ticker, namespace: space,", 1)
	if out, err := n.tryKubectl(pod, "apply", "-f", "-"); err == nil || !strings.Contains(out, `namespaces "space" not found`) {
		t.Errorf("a Pod in no namespace: %v %s", err, out)
	}
	n.expect(`namespace/space created`, "create", "namespace", "space")
	if out, err := n.tryKubectl(pod, "apply", "-f", "-"); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	n.expect(`configmap/c created`, "-n", "space", "create", "configmap", "c")
	n.expect(`condition met`, "-n", "space", "wait", "--for=condition=Ready", "pod/ticker", "--timeout=60s")
	n.expect(`namespace "space" deleted`, "delete", "namespace", "space", "--timeout=60s")
	if out, err := n.tryKubectl("", "get", "namespace", "space"); err == nil || !strings.Contains(out, "NotFound") {
		t.Errorf("the namespace is still there: %v %s", err, out)
	}
	n.expect(`No resources found`, "get", "pods,configmaps", "-n", "space")

	n.expect(`configmap/owner created`, "create", "configmap", "owner")
	uid := n.kubectl("get", "configmap", "owner", "-o", "jsonpath={.metadata.uid}")
	held := strings.Replace(ticker, "name: ticker,", "name: ticker, finalizers: [example.com/hold], ownerReferences: [{apiVersion: v1, kind: ConfigMap, name: owner, uid: "+uid+"}],", 1)
	if out, err := n.tryKubectl(held, "apply", "-f", "-"); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	n.expect(`condition met`, "wait", "--for=condition=Ready", "pod/ticker", "--timeout=60s")
	n.expect(`deleted`, "delete", "configmap", "owner")
	n.awaitPod("ticker", "ended and held", func(p *corev1.Pod) bool {
		return p.DeletionTimestamp != nil && p.DeletionGracePeriodSeconds != nil && *p.DeletionGracePeriodSeconds == 0 &&
			len(p.Status.ContainerStatuses) == 1 && p.Status.ContainerStatuses[0].State.Terminated != nil
	})
	n.expect(`ticker 0/1`, "get", "pods")
	n.expect(`patched`, "patch", "pod", "ticker", "--type=json", "-p", `[{"op":"remove","path":"/metadata/finalizers"}]`)
	n.eventually("the Pod is gone", func() bool {
		out, err := n.tryKubectl("", "get", "pods")
		return err == nil && strings.Contains(out, "No resources found")
	})
}
