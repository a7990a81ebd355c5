// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"encoding/base64"
	"net/http"
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
	n := startNode(t)
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

// TestKubectlFailedContainers: the events of a container that cannot be made or started
// are the kubelet's, in its order, and those of all attempts are one.
func TestKubectlFailedContainers(t *testing.T) {
	kubectlPath(t)
	n := startNode(t)
	n.must(podOf("starts", apps(busybox("app", "command: [/nosuch]"))))
	n.must(podOf("makes", apps(busybox("app", "command: [id], securityContext: {runAsNonRoot: true}"))))
	const events = `custom-columns=T:.type,R:.reason,C:.count,M:.message`
	again := func(pod, reason string) []string {
		t.Helper()
		var lines []string
		n.eventually(reason+" of "+pod+" happens again", func() bool {
			lines = strings.Split(n.kubectl("get", "events", "--no-headers", "-o", events, "--field-selector", "involvedObject.name="+pod), "\n")
			return regexp.MustCompile(`(?m)^\w+ +` + reason + ` +2 `).MatchString(strings.Join(lines, "\n"))
		})
		return lines
	}
	in := func(pod string, got []string, want ...string) {
		t.Helper()
		pattern := `(?s)` + strings.ReplaceAll(strings.Join(want, `\n(.*\n)?`), " ", ` +`)
		if text := strings.Join(got, "\n"); !regexp.MustCompile(pattern).MatchString(text) {
			t.Errorf("events of %s do not match %s:\n%s", pod, pattern, text)
		}
	}
	in("starts", again("starts", "Failed"), `Normal Pulled 2 Container image "busybox" already present on machine[^\n]*`, `Normal Created 2 Container created`,
		`Warning Failed 2 Error: failed to create containerd task: [^\n]*exec: "/nosuch": [^\n]*no such file or directory`)
	in("makes", again("makes", "Failed"), `Normal Pulled 2 Container image "busybox" already present on machine[^\n]*`,
		`Warning Failed 2 Error: container has runAsNonRoot and image will run as root [(]pod: "makes_default[^\n]*, container: app[)]`)
	n.expect(`^container has runAsNonRoot and image will run as root`, "get", "pod", "makes", "-o", "jsonpath={.status.containerStatuses[0].state.waiting.message}")
}

// TestKubectlTokenSecrets: a Secret may hold a token of a ServiceAccount that lasts.
func TestKubectlTokenSecrets(t *testing.T) {
	kubectlPath(t)
	n := startNode(t)
	n.must(`
apiVersion: v1
kind: ServiceAccount
metadata: {name: build-robot}
---
apiVersion: v1
kind: Secret
metadata: {name: build-robot-secret, annotations: {kubernetes.io/service-account.name: build-robot}}
type: kubernetes.io/service-account-token
`)
	const dots = "jsonpath={.data.token}"
	n.eventually("the Secret has its token", func() bool { return n.kubectl("get", "secret", "build-robot-secret", "-o", dots) != "" })
	n.expect(`Type: kubernetes.io/service-account-token Data ==== ca.crt: \d+ bytes namespace: 7 bytes token: \S+\n`, "describe", "secret", "build-robot-secret")
	n.expect(`build-robot-secret kubernetes.io/service-account-token 3 `, "get", "secrets")
	token, err := base64.StdEncoding.DecodeString(n.kubectl("get", "secret", "build-robot-secret", "-o", dots))
	if err != nil {
		t.Fatal(err)
	}
	if code := n.answers(string(token)); code != http.StatusForbidden {
		t.Errorf("the token is answered with %d", code)
	}
	n.kubectl("delete", "serviceaccount", "build-robot")
	n.expect(``, "wait", "--for=delete", "secret/build-robot-secret", "--timeout=60s")
	if code := n.answers(string(token)); code != http.StatusUnauthorized {
		t.Errorf("without the ServiceAccount the token is answered with %d", code)
	}
}

// TestKubectlTooMuch: a Pod that asks for more than the node has waits, as in Kubernetes'
// tasks on CPU and memory.
func TestKubectlTooMuch(t *testing.T) {
	kubectlPath(t)
	n := startNode(t)
	n.must(podOf("cpu-demo-2", apps(sh("app", forever, "resources: {requests: {cpu: '1000', memory: 1000Ti}}"))))
	const why = "0/1 nodes are available: 1 Insufficient cpu, 1 Insufficient memory. preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."
	n.eventually("the event", func() bool {
		return strings.Contains(n.kubectl("events", "--for", "pod/cpu-demo-2"), "FailedScheduling   Pod/cpu-demo-2   "+why)
	})
	n.expect(`^cpu-demo-2 0/1 Pending 0 `, "get", "pods", "--no-headers")
	n.expect(regexp.QuoteMeta(why), "get", "pod", "cpu-demo-2", "-o", "jsonpath={.status.conditions[0].message}")
}

// TestKubectlLists: a List is what kubectl get -o yaml writes, and may be given back. The
// fields of its items are checked, and a kind that the node lacks is told of clearly.
func TestKubectlLists(t *testing.T) {
	kubectlPath(t)
	n := startNode(t)
	const list = `
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: ConfigMap, metadata: {name: a}, data: {x: "1"}}
- {apiVersion: v1, kind: ConfigMap, metadata: {name: b}, data: {x: "1"}}
`
	in := func(manifest, want string, args ...string) {
		t.Helper()
		if out, err := n.tryKubectl(manifest, args...); !strings.Contains(out, want) {
			t.Errorf("kubectl %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	in(list, "configmap/a created\nconfigmap/b created\n", "create", "-f", "-")
	saved := n.kubectl("get", "configmap", "a", "b", "-o", "yaml")
	n.kubectl("delete", "configmap", "a", "b")
	in(saved, "configmap/a created\nconfigmap/b created\n", "apply", "-f", "-")
	in(strings.Replace(list, "data: {x", "dato: {x", 1), `unknown field "dato"`, "apply", "-f", "-")
	in("apiVersion: cert-manager.io/v1\nkind: Certificate\nmetadata: {name: x}\n",
		`no matches for kind "Certificate" in version "cert-manager.io/v1"`, "apply", "-f", "-")
	n.expect(`"swagger":"2.0"`, "get", "--raw", "/openapi/v2")
}

// TestKubectlExplain: what kubectl explain prints of types that others contain.
func TestKubectlExplain(t *testing.T) {
	kubectlPath(t)
	n := startNode(t)
	n.expect(`apiVersion <string> APIVersion defines the versioned schema`, "explain", "pod")
	n.expect(`limits <map\[string\]Quantity> Limits describes`, "explain", "pod.spec.containers.resources")
	n.expect(`FIELD: port <IntOrString>`, "explain", "pod.spec.containers.livenessProbe.httpGet.port")
	n.expect(`FIELD: emptyDir <EmptyDirVolumeSource> DESCRIPTION: emptyDir represents a temporary directory that shares a pod's lifetime\.`, "explain", "pod.spec.volumes.emptyDir")
	n.expect(`sizeLimit <Quantity>`, "explain", "pod.spec.volumes.emptyDir", "--recursive")
}
