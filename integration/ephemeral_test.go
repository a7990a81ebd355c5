// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// TestKubectlDebug adds an ephemeral container to a running Pod: it sees the processes
// of its target, is not started again, and survives the agent.
func TestKubectlDebug(t *testing.T) {
	kubectlPath(t)
	n := startNode(t)
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
		return len(s) == 2 && s[0].State.Running != nil
	})
	n.kill()
	n.start()
	pod = n.awaitPod("patient", "it is seen again", func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodRunning })
	s := pod.Status.EphemeralContainerStatuses
	if alone, look := s[0].State, s[1].State; look.Terminated == nil || look.Terminated.ExitCode != 4 || alone.Running == nil || pod.Status.ContainerStatuses[0].RestartCount != 0 {
		t.Errorf("after the agent's restart: %+v", s)
	}
	n.expect(`(?s)Ephemeral Containers: look: .*Exit Code: 4 .*alone: .*Running`, "describe", "pod", "patient")
	n.expect(`^patient 1/1 Running 0`, "get", "pod", "patient", "--no-headers")
	if out, err := n.tryKubectl("", "debug", "pod/patient", "--image=busybox", "-c", "main"); err == nil || !strings.Contains(out, "Duplicate value: \"main\"") {
		t.Errorf("a name twice: %v %s", err, out)
	}
	n.kubectl("delete", "pod", "patient", "--grace-period=1")
}

// TestKubectlDebugAtATerminal: a shell in an ephemeral container that sees the
// processes and the root of its target.
func TestKubectlDebugAtATerminal(t *testing.T) {
	kubectlPath(t)
	n := startNode(t)
	if out, err := n.tryKubectl(podOf("patient", apps(sh("main", "echo sesame >/found; "+forever), sh("other", forever))), "create", "-f", "-"); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	n.awaitRunning("patient")
	shell := n.typed("debug", "-it", "patient", "--image=busybox", "--image-pull-policy=IfNotPresent", "--target=main", "--profile=general", "-c", "look", "--", "sh")
	shell.shown.await("try pressing enter")
	if !shell.shown.shows("try pressing enter") {
		t.Fatalf("no session: %v\n%s", shell.wait(), shell.shown.buffer.String())
	}
	fmt.Fprint(shell.keys, "until grep sesame /proc/1/root/found; do sleep 0.1; done; stty size; cat /proc/[0-9]*/cmdline | tr '\\0' ' '; echo\n")
	shell.shown.await("24 80")
	fmt.Fprint(shell.keys, "exit 5\n")
	// kubectl debug does not hand on the exit status.
	if err := shell.wait(); err != nil {
		t.Errorf("debug -it: %v", err)
	}
	for _, want := range []string{"sesame", "24 80", "sleep 100000"} {
		if !shell.shown.shows(want) {
			t.Errorf("%s is not on the screen:\n%s", want, shell.shown.buffer.String())
		}
	}
	pod := n.awaitPod("patient", "the shell has ended", func(p *corev1.Pod) bool {
		s := p.Status.EphemeralContainerStatuses
		return len(s) == 1 && s[0].State.Terminated != nil && s[0].State.Terminated.ExitCode == 5
	})
	if e := pod.Spec.EphemeralContainers[0]; !e.Stdin || !e.TTY || e.TargetContainerName != "main" {
		t.Errorf("the container: %+v", e)
	}
	if out, err := n.tryKubectl("", "debug", "patient", "--image=busybox", "--target=nobody"); err == nil || !strings.Contains(out, "spec.ephemeralContainers[1].targetContainerName") {
		t.Errorf("a target that is not there: %v %s", err, out)
	}
	n.kubectl("delete", "pod", "patient", "--grace-period=0", "--force")
}
