// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"os"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// probed is a container of busybox with further fields, probes as a rule.
func probed(name, script, fields string) string {
	return strings.Replace(container(name, script), "{name: "+name, "{"+fields+", name: "+name, 1)
}

// web serves a directory on the volume on port 8080.
const web = "mkdir -p /v/www; echo fine >/v/www/index.html; exec httpd -f -p 8080 -h /v/www"

// TestReadiness: a Pod is ready when its readiness probe says so, by HTTP, TCP and
// a command, and not ready when it says otherwise.
func TestReadiness(t *testing.T) {
	n := startNode(t)
	dir := t.TempDir()
	n.apply("ready.yaml", podHead("ready")+`
  terminationGracePeriodSeconds: 1
  containers:
`+probed("http", web, "ports: [{name: web, containerPort: 8080}], readinessProbe: {periodSeconds: 1, httpGet: {path: /, port: web}}, livenessProbe: {tcpSocket: {port: web}, periodSeconds: 1}")+
		probed("exec", `sleep 1000`, "readinessProbe: {periodSeconds: 1, exec: {command: [test, -e, /v/ready]}, failureThreshold: 1}")+`
  volumes: [{name: v, hostPath: {path: `+dir+`}}]
`)
	n.awaitPod("ready", "http is ready, exec is not", func(p *corev1.Pod) bool {
		return isReady(p, "http") && !isReady(p, "exec") && isStarted(p, "exec")
	})
	n.eventually("the failure is told", func() bool {
		return slices.ContainsFunc(n.events("ready"), func(e string) bool { return strings.HasPrefix(e, "Unhealthy: Readiness probe failed: ") })
	})
	touch(t, dir+"/ready")
	n.awaitPod("ready", "all is ready", podReady)

	// An agent that is replaced does not make a ready Pod unready.
	n.kill()
	n.start()
	if pod := n.pods()["ready"]; !podReady(&pod) {
		t.Error("the Pod was ready before the agent was replaced")
	}
	remove(t, dir+"/ready")
	n.awaitPod("ready", "exec is not ready any more", func(p *corev1.Pod) bool { return isReady(p, "http") && !isReady(p, "exec") && !podReady(p) })
	for _, c := range n.pods()["ready"].Status.ContainerStatuses {
		if c.RestartCount != 0 {
			t.Errorf("%s was restarted", c.Name)
		}
	}
}

// TestLiveness: a failed liveness probe restarts its container alone.
func TestLiveness(t *testing.T) {
	n := startNode(t)
	n.apply("live.yaml", podHead("live")+`
  containers:
`+probed("web", "[ -e /v/www ] && mkdir -p /v/www/down; "+web, "livenessProbe: {periodSeconds: 1, failureThreshold: 1, initialDelaySeconds: 1, terminationGracePeriodSeconds: 1, httpGet: {path: /down/nothing, port: 8080}}")+
		probed("slow", "sleep 1000", "livenessProbe: {periodSeconds: 1, failureThreshold: 1, timeoutSeconds: 1, terminationGracePeriodSeconds: 1, exec: {command: [sleep, '1000']}}")+
		container("other", "sleep 1000")+`
  initContainers:
`+container("init", "echo x >>/v/init")+`
  volumes: [{name: v, emptyDir: {}}]
`)
	pod := n.awaitPod("live", "both were restarted", func(p *corev1.Pod) bool {
		return restarts(p, "web") > 0 && restarts(p, "slow") > 0
	})
	if c := status(&pod, "other"); c.RestartCount != 0 {
		t.Errorf("the other container: %+v", c)
	}
	if c := pod.Status.InitContainerStatuses[0]; c.RestartCount != 0 {
		t.Errorf("the init container: %+v", c)
	}
	for _, want := range []string{
		"Unhealthy: Liveness probe failed: HTTP probe failed with statuscode: 404",
		`Unhealthy: Liveness probe failed: command timed out: "sleep 1000" timed out after 1s`,
		"Killing: Container web failed liveness probe, will be restarted",
	} {
		n.eventually(want, func() bool { return slices.Contains(n.events("live"), want) })
	}
}

// TestStartup: a sidecar's startup probe holds up what comes after it, and no other
// probe is made before it succeeded.
func TestStartup(t *testing.T) {
	n := startNode(t)
	dir := t.TempDir()
	n.apply("startup.yaml", podHead("startup")+`
  terminationGracePeriodSeconds: 1
  initContainers:
`+probed("side", "sleep 1000", "restartPolicy: Always, startupProbe: {periodSeconds: 1, failureThreshold: 1000, exec: {command: [test, -e, /v/up]}}, "+
		"livenessProbe: {periodSeconds: 1, exec: {command: [sh, -c, 'echo live >>/v/probes']}}")+`
  containers:
`+container("app", "sleep 1000")+`
  volumes: [{name: v, hostPath: {path: `+dir+`}}]
`)
	n.eventually("the startup probe failed", func() bool {
		return slices.ContainsFunc(n.events("startup"), func(e string) bool { return strings.HasPrefix(e, "Unhealthy: Startup probe failed: ") })
	})
	pod := n.pods()["startup"]
	if status(&pod, "app").State.Waiting == nil || exists(dir+"/probes") {
		t.Errorf("the app, or the liveness probe, did not wait: %+v", pod.Status)
	}
	touch(t, dir+"/up")
	n.awaitPod("startup", "the app runs", podReady)
	n.eventually("the liveness probe is made", func() bool { return exists(dir + "/probes") })
}

func isReady(p *corev1.Pod, name string) bool {
	c := status(p, name)
	return c != nil && c.Ready
}

func isStarted(p *corev1.Pod, name string) bool {
	c := status(p, name)
	return c != nil && c.Started != nil && *c.Started
}

func podReady(p *corev1.Pod) bool {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

func touch(t *testing.T, path string) {
	t.Helper()
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
