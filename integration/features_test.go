// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// TestSidecars: a sidecar is started before the next init container and the apps,
// is restarted when it ends, and does not keep the Pod from completing.
func TestSidecars(t *testing.T) {
	n := startNode(t)
	n.apply("sidecar.yaml", podHead("side")+`
  restartPolicy: Never
  terminationGracePeriodSeconds: 3
  initContainers:
`+strings.Replace(container("proxy", `trap "exit 0" TERM; echo proxy >>/v/order; [ -e /v/once ] || { touch /v/once; exit 5; }; while :; do sleep 0.1; done`),
		"{name: proxy", "{restartPolicy: Always, name: proxy", 1)+
		container("second", `until [ $(grep -c proxy /v/order) -ge 2 ]; do sleep 0.1; done; echo second >>/v/order`)+`
  containers:
`+container("app", "echo app >>/v/order; cat /v/order")+`
  volumes: [{name: v, emptyDir: {}}]
`)
	pod := n.awaitPhase("side", corev1.PodSucceeded)
	if got := strings.Join(n.log(pod, "app", 0), " "); got != "proxy proxy second app" {
		t.Errorf("order %q", got)
	}
	proxy := n.awaitPod("side", "the sidecar has ended", func(p *corev1.Pod) bool {
		return p.Status.InitContainerStatuses[0].State.Terminated != nil
	}).Status.InitContainerStatuses[0]
	if proxy.RestartCount != 1 || proxy.State.Terminated.ExitCode != 0 {
		t.Errorf("sidecar: %+v", proxy)
	}
}

// TestDeadline: activeDeadlineSeconds counts from the Pod's start, init included.
func TestDeadline(t *testing.T) {
	n := startNode(t)
	n.apply("late.yaml", podHead("late")+`
  activeDeadlineSeconds: 2
  terminationGracePeriodSeconds: 1
  initContainers:
`+container("slow", "sleep 1000")+`
  containers:
`+container("app", "true")+`
  volumes: [{name: v, emptyDir: {}}]
`)
	pod := n.awaitPhase("late", corev1.PodFailed)
	if pod.Status.Reason != "DeadlineExceeded" {
		t.Errorf("reason %q, message %q", pod.Status.Reason, pod.Status.Message)
	}
}

// TestSubPathsAndGroups: subPath, subPathExpr, fsGroup and sysctls reach the
// container.
func TestSubPathsAndGroups(t *testing.T) {
	n := startNode(t)
	n.apply("sub.yaml", podHead("sub")+`
  restartPolicy: Never
  securityContext: {runAsUser: 1000, runAsGroup: 1000, fsGroup: 4242, sysctls: [{name: kernel.shm_rmid_forced, value: "1"}]}
  initContainers:
`+container("make", "mkdir -p /v/dir && echo inner >/v/dir/file")+`
  containers:
  - name: app
    image: busybox
    imagePullPolicy: IfNotPresent
    env: [{name: WHO, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]
    command: [sh, -c, 'cat /one/file; echo mine >/two/x; stat -c %g /two/x; cat /proc/sys/kernel/shm_rmid_forced; ls /v; id -G']
    volumeMounts:
    - {name: v, mountPath: /v}
    - {name: v, mountPath: /one, subPath: dir}
    - {name: v, mountPath: /two, subPathExpr: $(WHO)-x}
  volumes: [{name: v, emptyDir: {}}]
`)
	pod := n.awaitPhase("sub", corev1.PodSucceeded)
	want := []string{"inner", "4242", "1", "dir", "sub-" + nodeName + "-x", "1000 4242"}
	if got := n.log(pod, "app", 0); !slices.Equal(got, want) {
		t.Errorf("output %q, want %q", got, want)
	}
}

// TestRestartRules: a container's own rule restarts it by its exit code in a Pod
// that otherwise never restarts.
func TestRestartRules(t *testing.T) {
	n := startNode(t)
	n.apply("rules.yaml", podHead("rules")+`
  restartPolicy: Never
  containers:
`+strings.Replace(container("app", `[ -e /v/once ] || { touch /v/once; exit 42; }; exit 3`), "{name: app",
		"{restartPolicy: Never, restartPolicyRules: [{action: Restart, exitCodes: {operator: In, values: [42]}}], name: app", 1)+`
  volumes: [{name: v, emptyDir: {}}]
`)
	pod := n.awaitPhase("rules", corev1.PodFailed)
	c := pod.Status.ContainerStatuses[0]
	if c.RestartCount != 1 || c.State.Terminated == nil || c.State.Terminated.ExitCode != 3 {
		t.Errorf("status %+v", c)
	}
}
