// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// must applies objects with kubectl.
func (n *node) must(manifest string) {
	n.t.Helper()
	if out, err := n.tryKubectl(manifest, "apply", "-f", "-"); err != nil {
		n.t.Fatalf("%v %s", err, out)
	}
}

// TestKubectlRuntimeClasses runs Pods of the API and of a manifest by their
// RuntimeClass and PriorityClass.
func TestKubectlRuntimeClasses(t *testing.T) {
	kubectlPath(t)
	n := newNode(t)
	n.start()
	pod := func(name, class string) string {
		return podOf(name, "runtimeClassName: "+class, apps(busybox("app", "command: [sleep, '1000']", "resources: {limits: {memory: 32Mi}}")))
	}
	n.apply("early.yaml", pod("early", "heavy"))
	n.must(`
apiVersion: node.k8s.io/v1
kind: RuntimeClass
metadata: {name: heavy}
handler: runc
overhead: {podFixed: {memory: 16Mi}}
---
apiVersion: node.k8s.io/v1
kind: RuntimeClass
metadata: {name: kata}
handler: kata
`)
	if out, err := n.tryKubectl(pod("none", "none"), "create", "-f", "-"); err == nil || !strings.Contains(out, `pods "none" is forbidden: pod rejected: RuntimeClass "none" not found`) {
		t.Errorf("%v: %s", err, out)
	}
	n.must(pod("api", "heavy"))
	n.must(pod("vm", "kata"))
	n.awaitRunning("api")
	for name, p := range map[string]corev1.Pod{"of the API": n.awaitRunning("api"), "of the manifest": n.awaitRunning("early-" + nodeName)} {
		if got := memoryLimit(n.cgroupValue(p, "", "memory.limit_in_bytes", "memory.max")); got != "50331648" {
			t.Errorf("the memory limit of the Pod %s is %s", name, got)
		}
	}
	if got := n.awaitEvent("vm", "FailedCreatePodSandBox"); !strings.Contains(got, `no runtime for "kata" is configured`) {
		t.Error(got)
	}
}
