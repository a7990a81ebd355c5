// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"sync/atomic"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// TestProbesOverTheNetwork asks a server in the Pod over HTTP with redirects, HTTPS
// with headers, gRPC and TCP, and one on the node by the probe's host: well at first,
// then not.
func TestProbesOverTheNetwork(t *testing.T) {
	n := startNode(t)
	dir := t.TempDir()
	build := exec.Command("go", "build", "-o", dir+"/answers", "./answers")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	var agent atomic.Value
	onNode := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { agent.Store(r.UserAgent()) }))
	defer onNode.Close()
	u, err := url.Parse(onNode.URL)
	if err != nil {
		t.Fatal(err)
	}
	ready := func(name, handler string) string {
		return sh(name, forever, "readinessProbe: {periodSeconds: 1, timeoutSeconds: 10, failureThreshold: 1, "+handler+"}")
	}
	n.apply("remote.yaml", podOf("remote", "volumes: [{name: v, hostPath: {path: "+dir+"}}]",
		apps(
			busybox("server", "command: [/v/answers, /v/sick]", onV),
			ready("redirected", "httpGet: {path: /here, port: 8080}"),
			ready("elsewhere", "httpGet: {path: /there, port: 8080}"),
			ready("secure", "httpGet: {path: /headers, port: 8443, scheme: HTTPS, httpHeaders: [{name: Host, value: answers.example}, {name: X-Token, value: sesame}]}"),
			ready("plain", "httpGet: {path: /headers, port: 8080, httpHeaders: [{name: Host, value: answers.example}, {name: X-Token, value: sesame}]}"),
			ready("connected", "tcpSocket: {port: 7070}"),
			ready("rpc", "grpc: {port: 9090, service: mine}"),
			ready("node", fmt.Sprintf("httpGet: {host: %s, port: %s}", u.Hostname(), u.Port())),
			sh("killed", forever, "livenessProbe: {periodSeconds: 1, timeoutSeconds: 10, failureThreshold: 1, initialDelaySeconds: 3, terminationGracePeriodSeconds: 1, grpc: {port: 9090, service: mine}}"),
		)))
	n.awaitPod("remote", "all but one are ready", func(p *corev1.Pod) bool {
		for _, name := range []string{"redirected", "elsewhere", "secure", "connected", "rpc", "node", "killed"} {
			if !isReady(p, name) {
				return false
			}
		}
		return !isReady(p, "plain") && !podReady(p)
	})
	if got := agent.Load(); got != "kube-probe/1.36" {
		t.Errorf("the probe calls itself %v", got)
	}
	n.awaitEvent("remote", "Unhealthy: Readiness probe failed: HTTP probe failed with statuscode: 400")
	n.awaitEvent("remote", `ProbeWarning: Readiness probe warning: Probe terminated redirects, Response body: <a href="http://elsewhere.invalid/">Found</a>`)

	touch(t, dir+"/sick")
	n.awaitPod("remote", "what is probed is not ready", func(p *corev1.Pod) bool {
		return !isReady(p, "redirected") && !isReady(p, "secure") && !isReady(p, "connected") && !isReady(p, "rpc") &&
			isReady(p, "elsewhere") && isReady(p, "node")
	})
	for _, want := range []string{
		"Unhealthy: Readiness probe failed: HTTP probe failed with statuscode: 503",
		`Unhealthy: Readiness probe failed: service unhealthy (responded with "NOT_SERVING")`,
		"Unhealthy: Readiness probe failed: dial tcp ",
		`Unhealthy: Liveness probe failed: service unhealthy (responded with "NOT_SERVING")`,
		"Killing: Container killed failed liveness probe, will be restarted",
	} {
		n.awaitEvent("remote", want)
	}
	n.awaitPod("remote", "its container was restarted", func(p *corev1.Pod) bool { return restarts(p, "killed") > 0 })
	remove(t, dir+"/sick")
	n.awaitPod("remote", "all are ready again", func(p *corev1.Pod) bool {
		return isReady(p, "redirected") && isReady(p, "secure") && isReady(p, "connected") && isReady(p, "rpc") && running(p, "killed", 1)
	})
}
