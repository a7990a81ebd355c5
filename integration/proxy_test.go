// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// TestProxy reaches Pods through the API, as the Kubernetes documentation shows it.
func TestProxy(t *testing.T) {
	kubectlPath(t)
	n := startNode(t)
	serve := func(port string) string {
		return "mkdir -p /www/sub && echo $HOSTNAME >/www/index.html && echo below >/www/sub/index.html && exec httpd -f -p " + port + " -h /www"
	}
	web := strings.Replace(podOf("web", apps(sh("app", serve("8080"), "ports: [{name: http, containerPort: 8080}]"))), "metadata: {", "metadata: {labels: {app: web}, ", 1)
	n.must(web + "\n---\n" + podOf("quiet", apps(sh("app", serve("127.0.0.1:8080")))) + "\n---\n" +
		podOf("host", "hostNetwork: true", apps(sh("app", forever))) + "\n---\n" + podOf("ended", "restartPolicy: Never", apps(sh("app", "true"))) + `
---
apiVersion: v1
kind: Service
metadata: {name: front}
spec: {selector: {app: web}, ports: [{name: main, port: 80, targetPort: http}]}
`)
	pod := n.awaitRunning("web")
	n.awaitRunning("quiet")
	n.awaitRunning("host")
	n.awaitPhase("ended", corev1.PodSucceeded)
	const base = "/api/v1/namespaces/default/"
	raw := func(path, want string) {
		t.Helper()
		n.eventually(path+" answers "+want, func() bool { // the server in the Pod is just starting
			out, _ := n.tryKubectl("", "get", "--raw", base+path)
			return strings.Contains(out, want)
		}, func() string { out, _ := n.tryKubectl("", "get", "--raw", base+path); return out })
	}
	raw("pods/web/proxy/", "web")
	raw("pods/http:web:8080/proxy/sub/", "below")
	raw("services/front:main/proxy/", "web")
	raw("services/http:front:80/proxy/sub/", "below")
	raw("pods/web:81/proxy/", "(ServiceUnavailable): error trying to reach service: dial tcp "+pod.Status.PodIP+":81: connect: connection refused")
	raw("pods/quiet:8080/proxy/", "connection refused") // it listens to itself alone
	raw("pods/ended:8080/proxy/", "(BadRequest): address not allowed")
	raw("services/none/proxy/", `services "none" not found`)

	// A status that lies leads nowhere else.
	n.kubectl("patch", "pod", "ended", "--subresource=status", "--type=merge", "-p", `{"status":{"podIP":"`+pod.Status.PodIP+`","podIPs":[{"ip":"`+pod.Status.PodIP+`"}]}}`)
	raw("pods/ended:8080/proxy/", "(BadRequest): address not allowed")
	if host := n.pods()["host"]; host.Status.HostIP == "127.0.0.1" { // a machine without a network
		raw("pods/host:8080/proxy/", "(BadRequest): address not allowed")
	} else {
		raw("pods/host:9/proxy/", "error trying to reach service: dial tcp "+host.Status.HostIP+":9: connect: connection refused")
	}

	// As a web browser sees it through kubectl proxy.
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	forward := n.kubectlCommand("proxy", "--port=0")
	out, err := forward.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := forward.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = forward.Process.Kill(); _ = forward.Wait() }()
	line, err := bufio.NewReader(out).ReadString('\n')
	_, address, ok := strings.Cut(strings.TrimSpace(line), "Starting to serve on ")
	if err != nil || !ok {
		t.Fatalf("%q %v", line, err)
	}
	client := &http.Client{Timeout: 30 * time.Second}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+base+"services/front:main/proxy", nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(answer.Body)
	_ = answer.Body.Close()
	if answer.Request.URL.Path != base+"services/front:main/proxy/" || !strings.Contains(string(body), "web") {
		t.Errorf("%s: %s", answer.Request.URL, body)
	}
}
