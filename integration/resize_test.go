// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// TestKubectlResize changes cpu and memory of a running Pod: its cgroups follow without
// a restart where none is asked for; too much waits or is refused; an agent that is
// killed in between knows what is allocated.
func TestKubectlResize(t *testing.T) {
	kubectlPath(t)
	n := startNode(t)
	size := func(cpu, memory string) string {
		return "resources: {requests: {cpu: " + cpu + ", memory: " + memory + "}, limits: {cpu: " + cpu + ", memory: " + memory + "}}"
	}
	manifest := podOf("big",
		inits(sh("side", forever, "restartPolicy: Always", size("50m", "48Mi"))),
		apps(
			sh("calm", "dd if=/dev/zero of=/v/fill bs=1M count=8; "+forever, onV, size("100m", "64Mi")),
			sh("touchy", forever, size("100m", "64Mi"), "resizePolicy: [{resourceName: memory, restartPolicy: RestartContainer}]"),
		), "volumes: [{name: v, emptyDir: {medium: Memory}}]")
	if out, err := n.tryKubectl(manifest, "create", "-f", "-"); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	n.awaitRunning("big")
	resize := func(container, cpu, memory string) {
		t.Helper()
		list := "containers"
		if container == "side" {
			list = "initContainers"
		}
		amounts := `{"cpu":"` + cpu + `","memory":"` + memory + `"}`
		n.kubectl("patch", "pod", "big", "--subresource=resize", "-p",
			`{"spec":{"`+list+`":[{"name":"`+container+`","resources":{"requests":`+amounts+`,"limits":`+amounts+`}}]}}`)
	}
	settled := func(container, cpu, memory string, restarts int32) corev1.Pod {
		t.Helper()
		return n.awaitPod("big", container+" has "+memory, func(p *corev1.Pod) bool {
			s := status(p, container)
			return s != nil && s.State.Running != nil && s.RestartCount == restarts && s.Resources != nil &&
				s.Resources.Limits.Memory().Equal(resource.MustParse(memory)) && s.Resources.Limits.Cpu().Equal(resource.MustParse(cpu)) &&
				s.AllocatedResources.Memory().Equal(resource.MustParse(memory)) && podCondition(p, corev1.PodResizeInProgress) == nil
		})
	}
	resize("calm", "200m", "96Mi")
	pod := settled("calm", "200m", "96Mi", 0)
	n.awaitEvent("big", "ResizeStarted: Pod resize started: {")
	n.awaitEvent("big", "ResizeCompleted: Pod resize completed: {")
	if got := memoryLimit(n.cgroupValue(pod, "calm", "memory.limit_in_bytes", "memory.max")); got != "100663296" {
		t.Errorf("the container's memory limit is %s", got)
	}
	if got := memoryLimit(n.cgroupValue(pod, "", "memory.limit_in_bytes", "memory.max")); got != "218103808" {
		t.Errorf("the Pod's memory limit is %s", got)
	}
	resize("side", "50m", "32Mi")
	pod = settled("side", "50m", "32Mi", 0)
	if got := memoryLimit(n.cgroupValue(pod, "", "memory.limit_in_bytes", "memory.max")); got != "201326592" {
		t.Errorf("the Pod's memory limit after shrinking is %s", got)
	}
	resize("touchy", "100m", "80Mi")
	settled("touchy", "100m", "80Mi", 1)
	n.awaitEvent("big", "Killing: Container touchy resize requires restart")

	resize("calm", "1000", "96Mi")
	pod = n.awaitPod("big", "it is infeasible", func(p *corev1.Pod) bool {
		c := podCondition(p, corev1.PodResizePending)
		return c != nil && c.Reason == corev1.PodReasonInfeasible && strings.HasPrefix(c.Message, "Node didn't have enough capacity: cpu, requested: 1000")
	})
	if c := status(&pod, "calm"); !c.AllocatedResources.Cpu().Equal(resource.MustParse("200m")) {
		t.Errorf("allocated: %v", c.AllocatedResources)
	}
	n.kill()
	n.start()
	n.awaitPod("big", "it is still infeasible", func(p *corev1.Pod) bool {
		s := status(p, "calm")
		return podCondition(p, corev1.PodResizePending) != nil && s.AllocatedResources.Cpu().Equal(resource.MustParse("200m")) && s.RestartCount == 0
	})
	resize("calm", "150m", "4Mi") // below what it uses: tried again and again
	n.awaitPod("big", "it cannot be done", func(p *corev1.Pod) bool {
		c := podCondition(p, corev1.PodResizeInProgress)
		return c != nil && c.Reason == corev1.PodReasonError && strings.Contains(c.Message, `attempting to set container "calm" memory limit (4194304) below current usage`)
	})
	n.kill()
	n.start()
	resize("calm", "150m", "64Mi")
	pod = settled("calm", "150m", "64Mi", 0)
	if got := memoryLimit(n.cgroupValue(pod, "calm", "memory.limit_in_bytes", "memory.max")); got != "67108864" {
		t.Errorf("the container's memory limit is %s at the end", got)
	}
	// Another Pod takes all that is left: there is room when it is gone.
	all := resource.MustParse(n.kubectl("get", "node", nodeName, "-o", "jsonpath={.status.allocatable.cpu}"))
	rest := fmt.Sprintf("resources: {requests: {cpu: %dm}}", all.MilliValue()-(150+50+100))
	if out, err := n.tryKubectl(podOf("other", apps(sh("main", forever, rest))), "create", "-f", "-"); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	n.awaitRunning("other")
	resize("calm", "200m", "64Mi")
	n.awaitPod("big", "it is deferred", func(p *corev1.Pod) bool {
		c := podCondition(p, corev1.PodResizePending)
		return c != nil && c.Reason == corev1.PodReasonDeferred && strings.HasPrefix(c.Message, "Node didn't have enough resource: cpu, requested: 350, used: ")
	})
	// The next agent gives no room away before all Pods have theirs, the younger one, too.
	n.kill()
	n.start()
	resize("calm", "210m", "64Mi")
	pod = n.awaitPod("big", "it is deferred again", func(p *corev1.Pod) bool {
		c := podCondition(p, corev1.PodResizePending)
		return c != nil && c.ObservedGeneration == p.Generation && c.Reason == corev1.PodReasonDeferred
	})
	if c := status(&pod, "calm"); !c.AllocatedResources.Cpu().Equal(resource.MustParse("150m")) {
		t.Errorf("allocated after the agent's restart: %v", c.AllocatedResources)
	}
	n.kubectl("delete", "pod", "other", "--grace-period=0", "--force")
	settled("calm", "210m", "64Mi", 0)

	for _, bad := range []struct{ patch, want string }{
		{`{"spec":{"containers":[{"name":"calm","resources":{"requests":{"cpu":"100m"}}}]}}`, "QOS Class may not change"},
		{`{"spec":{"containers":[{"name":"calm","image":"other"}]}}`, "no change"},
	} {
		if out, err := n.tryKubectl("", "patch", "pod", "big", "--subresource=resize", "-p", bad.patch); !strings.Contains(out, bad.want) {
			t.Errorf("%s: %v %s", bad.patch, err, out)
		}
	}
	n.kubectl("delete", "pod", "big", "--grace-period=0", "--force")
}

// TestKubectlEditResize edits the resize subresource as a person does.
func TestKubectlEditResize(t *testing.T) {
	kubectlPath(t)
	n := startNode(t)
	size := "resources: {requests: {cpu: 50m, memory: 48Mi}, limits: {cpu: 50m, memory: 48Mi}}"
	if out, err := n.tryKubectl(podOf("edited", apps(sh("main", forever, size))), "create", "-f", "-"); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	n.awaitRunning("edited")
	t.Setenv("KUBE_EDITOR", "sed -i s/48Mi/64Mi/")
	n.expect(`^pod/edited edited\n$`, "edit", "pod", "edited", "--subresource=resize")
	pod := n.awaitPod("edited", "it has 64Mi", func(p *corev1.Pod) bool {
		s := status(p, "main")
		return running(p, "main", 0) && s.RestartCount == 0 && s.Resources != nil && s.Resources.Limits.Memory().Equal(resource.MustParse("64Mi"))
	})
	if got := memoryLimit(n.cgroupValue(pod, "main", "memory.limit_in_bytes", "memory.max")); got != "67108864" {
		t.Errorf("the container's memory limit is %s", got)
	}
	t.Setenv("KUBE_EDITOR", "sed -i -e s/64Mi/48Mi/ -e s/100000/1/") // the command is not what it may change
	n.expect(`^pod/edited edited\n$`, "edit", "pod", "edited", "--subresource=resize")
	n.awaitPod("edited", "it has 48Mi, and its command", func(p *corev1.Pod) bool {
		s := status(p, "main")
		return s.RestartCount == 0 && s.Resources.Limits.Memory().Equal(resource.MustParse("48Mi")) && strings.Contains(p.Spec.Containers[0].Command[2], "100000")
	})
	n.kubectl("delete", "pod", "edited", "--grace-period=0", "--force")
}

func podCondition(p *corev1.Pod, t corev1.PodConditionType) *corev1.PodCondition {
	for i := range p.Status.Conditions {
		if p.Status.Conditions[i].Type == t {
			return &p.Status.Conditions[i]
		}
	}
	return nil
}
