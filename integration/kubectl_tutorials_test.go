// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"regexp"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// What Kubernetes' documentation lets its readers type.

// TestKubectlPrivileged: privileged containers have the machine, and the profiles of
// kubectl debug that need one work; a namespace's level may forbid them.
func TestKubectlPrivileged(t *testing.T) {
	kubectlPath(t)
	n := newNode(t)
	n.start()
	n.kubectl("run", "own", "--image=busybox", "--image-pull-policy=Never", "--privileged", "--grace-period=1", "--", "sh", "-c", forever)
	n.kubectl("wait", "--for=condition=Ready", "pod/own", "--timeout=180s")
	n.expect(`^true$`, "get", "pod", "own", "-o", "jsonpath={.spec.containers[0].securityContext.privileged}")
	n.expect(`^kmsg\n$`, "exec", "own", "--", "sh", "-c", "mount -t tmpfs none /tmp && ls /dev | grep -x kmsg")

	debug := []string{"debug", "--image=busybox", "--image-pull-policy=Never", "--profile=sysadmin"}
	n.kubectl(append(debug, "own", "-c", "look", "--", "ls", "/dev/kmsg")...)
	n.eventually("the debugger has looked", func() bool { out, _ := n.tryKubectl("", "logs", "own", "-c", "look"); return out == "/dev/kmsg\n" })
	made := regexp.MustCompile(`node-debugger-\S+`).FindString(n.kubectl(append(debug, "node/"+nodeName, "--", "chroot", "/host", "true")...))
	n.awaitPhase(made, corev1.PodSucceeded)

	n.kubectl("label", "namespace", "default", "pod-security.kubernetes.io/enforce=baseline")
	out, err := n.tryKubectl("", "run", "other", "--image=busybox", "--privileged")
	if err == nil || !strings.Contains(out, `violates PodSecurity "baseline:latest": privileged (container "other" must not set securityContext.privileged=true)`) {
		t.Errorf("against the namespace's level: %v %s", err, out)
	}
}
