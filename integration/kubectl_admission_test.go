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
	n := startNode(t)
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
	for name, p := range map[string]corev1.Pod{"of the API": n.awaitRunning("api"), "of the manifest": n.awaitRunning("early")} {
		if got := memoryLimit(n.cgroupValue(p, "", "memory.limit_in_bytes", "memory.max")); got != "50331648" {
			t.Errorf("the memory limit of the Pod %s is %s", name, got)
		}
	}
	if got := n.awaitEvent("vm", "FailedCreatePodSandBox"); !strings.Contains(got, `no runtime for "kata" is configured`) {
		t.Error(got)
	}
}

// TestKubectlQuotas holds Pods to a LimitRange, whose defaults their cgroups have,
// and to a ResourceQuota.
func TestKubectlQuotas(t *testing.T) {
	kubectlPath(t)
	n := startNode(t)
	n.must(`
apiVersion: v1
kind: LimitRange
metadata: {name: defaults}
spec: {limits: [{type: Container, default: {memory: 48Mi}, defaultRequest: {memory: 16Mi}, max: {memory: 64Mi}}]}
---
apiVersion: v1
kind: ResourceQuota
metadata: {name: compute}
spec: {hard: {pods: "2", requests.memory: 100Mi}}
`)
	pod := func(name string, more ...string) string {
		return podOf(name, apps(busybox("app", append([]string{"command: [sleep, '1000']"}, more...)...)))
	}
	n.must(pod("first"))
	if got := memoryLimit(n.cgroupValue(n.awaitRunning("first"), "app", "memory.limit_in_bytes", "memory.max")); got != "50331648" {
		t.Errorf("the container's memory limit is %s", got)
	}
	refused := func(manifest, want string) {
		t.Helper()
		if out, err := n.tryKubectl(manifest, "create", "-f", "-"); err == nil || !strings.Contains(out, want) {
			t.Errorf("%v: %s", err, out)
		}
	}
	refused(pod("big", "resources: {limits: {memory: 65Mi}}"),
		`pods "big" is forbidden: maximum memory usage per Container is 64Mi, but limit is 65Mi`)
	n.must(pod("second"))
	refused(pod("third"),
		`Error from server (Forbidden): error when creating "STDIN": pods "third" is forbidden: exceeded quota: compute, requested: pods=1, used: pods=2, limited: pods=2`)
	n.eventually("the quota shows what is used", func() bool {
		out, err := n.tryKubectl("", "describe", "quota", "compute")
		fields := strings.Join(strings.Fields(out), " ")
		return err == nil && strings.Contains(fields, "pods 2 2 requests.memory 32Mi 100Mi")
	})
	n.expect(`Normal Started pod/first`, "get", "events.events.k8s.io", "--field-selector", "regarding.name=first")
	n.expect(`"first" force deleted`, "delete", "pod", "first", "--grace-period=0", "--force")
	n.eventually("its end makes room", func() bool {
		_, err := n.tryKubectl(pod("third"), "create", "-f", "-")
		return err == nil
	})
}
