// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// TestKubectlDebug adds an ephemeral container to a running Pod: it sees the processes
// of its target, is not started again, and survives the agent.
func TestKubectlDebug(t *testing.T) {
	kubectlPath(t)
	n := newNode(t)
	n.start()
	if out, err := n.tryKubectl(podOf("patient", apps(sh("main", forever))), "create", "-f", "-"); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	n.awaitRunning("patient")
	debug := func(name string, args ...string) {
		t.Helper()
		n.kubectl(append([]string{"debug", "pod/patient", "--image=busybox", "--image-pull-policy=IfNotPresent", "-c", name, "--profile=general"}, args...)...)
	}
	ended := func(name string) corev1.Pod {
		t.Helper()
		return n.awaitPod("patient", name+" has ended", func(p *corev1.Pod) bool {
			for _, s := range p.Status.EphemeralContainerStatuses {
				if s.Name == name {
					return s.State.Terminated != nil
				}
			}
			return false
		})
	}
	debug("look", "--target=main", "--", "sh", "-c", "cat /proc/1/cmdline; exit 4")
	pod := ended("look")
	if got := strings.ReplaceAll(strings.Join(n.log(pod, "look", 0), ""), "\x00", " "); !strings.HasPrefix(got, "sleep 100000") {
		t.Errorf("process 1 of the target: %q", got)
	}
	n.expect("sleep", "logs", "patient", "-c", "look")
	debug("alone", "--", "sh", "-c", "cat /proc/1/cmdline; sleep 1000")
	n.awaitPod("patient", "alone runs", func(p *corev1.Pod) bool {
		s := p.Status.EphemeralContainerStatuses
		return len(s) == 2 && s[1].State.Running != nil
	})
	n.kill()
	n.start()
	pod = n.awaitPod("patient", "it is seen again", func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodRunning })
	s := pod.Status.EphemeralContainerStatuses
	if s[0].State.Terminated == nil || s[0].State.Terminated.ExitCode != 4 || s[1].State.Running == nil || pod.Status.ContainerStatuses[0].RestartCount != 0 {
		t.Errorf("after the agent's restart: %+v", s)
	}
	n.expect(`(?s)Ephemeral Containers: look: .*Exit Code: 4 .*alone: .*Running`, "describe", "pod", "patient")
	n.expect(`^patient 1/1 Running 0`, "get", "pod", "patient", "--no-headers")
	if out, err := n.tryKubectl("", "debug", "pod/patient", "--image=busybox", "-c", "main"); err == nil || !strings.Contains(out, "Duplicate value: \"main\"") {
		t.Errorf("a name twice: %v %s", err, out)
	}
	n.kubectl("delete", "pod", "patient", "--grace-period=1")
}
