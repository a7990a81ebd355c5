// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// kubectlPath is the pinned kubectl, built beside the program.
func kubectlPath(t *testing.T) string {
	t.Helper()
	path := filepath.Join(filepath.Dir(program(t)), "kubectl")
	if _, err := os.Stat(path); err != nil {
		t.Skipf("needs the pinned kubectl: make bin/kubectl (%v)", err)
	}
	return path
}

// tryKubectl runs kubectl against the node with its kubeconfig.
func (n *node) tryKubectl(stdin string, args ...string) (string, error) {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(n.t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, kubectlPath(n.t), n.kubectlCommand(args...).Args[1:]...)
	cmd.Stdin = strings.NewReader(stdin)
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// kubectlCommand is kubectl with the node's kubeconfig.
func (n *node) kubectlCommand(args ...string) *exec.Cmd {
	n.t.Helper()
	return exec.Command(kubectlPath(n.t), append([]string{"--cache-dir", n.path("cache"), "--kubeconfig", n.path("data", "kubeconfig")}, args...)...)
}

// kubectl is tryKubectl that must succeed.
func (n *node) kubectl(args ...string) string {
	n.t.Helper()
	out, err := n.tryKubectl("", args...)
	if err != nil {
		n.t.Fatalf("kubectl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// expect checks the output of kubectl against a regular expression, in which a
// space stands for any white space.
func (n *node) expect(pattern string, args ...string) {
	n.t.Helper()
	out := n.kubectl(args...)
	if !regexp.MustCompile(strings.ReplaceAll(pattern, " ", `\s+`)).MatchString(out) {
		n.t.Errorf("kubectl %s: does not match %s:\n%s", strings.Join(args, " "), pattern, out)
	}
}

const ticker = `
apiVersion: v1
kind: Pod
metadata: {name: ticker, labels: {app: ticker}}
spec:
  terminationGracePeriodSeconds: 0
  initContainers:
  - {name: first, image: busybox, imagePullPolicy: IfNotPresent, command: [echo, "made ready"]}
  containers:
  - {name: main, image: busybox, imagePullPolicy: IfNotPresent, command: [sh, -c, "echo hello; while sleep 1; do echo tick; done"]}
`

func TestKubectlReads(t *testing.T) {
	kubectlPath(t)
	n := startNode(t)
	n.apply("ticker.yaml", ticker)
	pod := n.awaitPhase("ticker", corev1.PodRunning)
	n.awaitPod("ticker", "Ready", func(p *corev1.Pod) bool {
		return len(p.Status.ContainerStatuses) == 1 && p.Status.ContainerStatuses[0].Ready
	})

	n.expect(`Server Version: v1\.`, "version")
	n.expect(`NAMESPACE NAME READY STATUS RESTARTS AGE IP NODE .*\ndefault ticker-n1 1/1 Running 0 \w+ `+regexp.QuoteMeta(pod.Status.PodIP)+` n1 <none> <none>`,
		"get", "pods", "-A", "-o", "wide")
	n.expect(`^pod/ticker-n1\n$`, "get", "pods", "-l", "app=ticker", "-o", "name")
	n.expect(`^No resources found`, "get", "pods", "-l", "app!=ticker")
	n.expect(`^`+string(pod.UID)+`$`, "get", "pod", "ticker-n1", "-o", "jsonpath={.metadata.uid}")
	n.expect(`apiVersion: v1 kind: Pod`, "get", "pod", "ticker-n1", "-o", "yaml")
	n.expect(`n1 Ready <none> \w+ v1\..* containerd://`, "get", "nodes", "-o", "wide")
	n.expect(`default Active (.*\n)+kube-system Active`, "get", "namespaces")
	n.expect(`(?s)Init Containers: first: .*Containers: main: .*QoS Class: BestEffort .*Events: .*Started`, "describe", "pod", "ticker-n1")
	n.expect(`(?s)Capacity: .*default ticker-n1`, "describe", "node", "n1")
	n.expect(`Normal Started pod/ticker-n1`, "get", "events", "--field-selector", "involvedObject.name=ticker-n1")
	n.expect(`Started`, "events", "--for", "pod/ticker-n1")
	n.expect(`pods po v1 true Pod`, "api-resources")
	n.expect(`FIELD: image <string>`, "explain", "pod.spec.containers.image")
	n.expect(`condition met`, "wait", "--for=condition=Ready", "pod/ticker-n1", "--timeout=60s")
	if out, err := n.tryKubectl("", "get", "pod", "nobody"); err == nil || !strings.Contains(out, `Error from server (NotFound): pods "nobody" not found`) {
		t.Errorf("get of what is not there: %v %s", err, out)
	}

	if info, err := os.Stat(n.path("data", "kubeconfig")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("kubeconfig: %v, mode %v", err, info.Mode())
	}
	printed, err := n.try("kubeconfig")
	written, _ := os.ReadFile(n.path("data", "kubeconfig"))
	if err != nil || printed != string(written) {
		t.Errorf("minikubelet kubeconfig: %v\n%s", err, printed)
	}
	n.terminate()
	n.start()
	if again, _ := os.ReadFile(n.path("data", "kubeconfig")); string(again) != string(written) {
		t.Error("the kubeconfig has changed over a restart")
	}
	n.expect(`ticker-n1`, "get", "pods")
}

func TestKubectlLogs(t *testing.T) {
	kubectlPath(t)
	n := startNode(t)
	n.apply("ticker.yaml", ticker)
	n.apply("twice.yaml", podHead("twice")+`
  restartPolicy: OnFailure
  containers:
  - {name: main, image: busybox, imagePullPolicy: IfNotPresent, volumeMounts: [{name: v, mountPath: /v}],
     command: [sh, -c, "echo try; test -e /v/x && { until test -e /v/y; do sleep 0.1; done; echo last; exit 0; }; touch /v/x; exit 1"]}
  volumes: [{name: v, emptyDir: {}}]
`)
	n.awaitPhase("ticker", corev1.PodRunning)
	n.expect(`^made ready\n$`, "logs", "ticker-n1", "-c", "first")
	n.eventually("there is a tick", func() bool { return strings.Contains(n.kubectl("logs", "ticker-n1"), "tick") })
	n.expect(`^hello\ntick\n`, "logs", "ticker-n1", "-c", "main")
	n.expect(`^tick\n$`, "logs", "ticker-n1", "-c", "main", "--tail", "1")
	n.expect(`^20\d\d-\S+Z hello\n`, "logs", "ticker-n1", "-c", "main", "--timestamps")
	n.expect(`^hel$`, "logs", "ticker-n1", "-c", "main", "--limit-bytes", "3")
	for _, want := range []string{`\[pod/ticker-n1/main\] hello\n`, `\[pod/ticker-n1/first\] made ready\n`} { // in any order
		n.expect(want, "logs", "-l", "app=ticker", "--all-containers", "--prefix", "--tail", "-1")
	}
	if out, err := n.tryKubectl("", "logs", "ticker-n1", "--previous"); err == nil || !strings.Contains(out, `previous terminated container "main" in pod "ticker-n1" not found`) {
		t.Errorf("previous of a first attempt: %v %s", err, out)
	}
	if out, err := n.tryKubectl("", "logs", "ticker-n1", "-c", "nobody"); err == nil || !strings.Contains(out, "container nobody is not valid for pod ticker-n1") {
		t.Errorf("unknown container: %v %s", err, out)
	}

	n.awaitPod("twice", "runs again", func(p *corev1.Pod) bool {
		return len(p.Status.ContainerStatuses) == 1 && p.Status.ContainerStatuses[0].RestartCount == 1
	})
	n.expect(`^try\n$`, "logs", "twice-n1", "--previous")
	n.kubectl("exec", "twice-n1", "--", "touch", "/v/y") // once it is over, only the last attempt's log stays
	n.expect(`^try\nlast\n$`, "logs", "-f", "twice-n1")  // ends with the container
}

func TestKubectlWrites(t *testing.T) {
	kubectlPath(t)
	n := startNode(t)
	manifest := strings.Replace(ticker, "ticker", "t1", 2)
	in := func(manifest, pattern string, args ...string) {
		t.Helper()
		out, err := n.tryKubectl(manifest, args...)
		if !regexp.MustCompile(pattern).MatchString(out) {
			t.Errorf("kubectl %s: %v, does not match %s:\n%s", strings.Join(args, " "), err, pattern, out)
		}
	}
	in(manifest, `^pod/t1 created \(server dry run\)\n$`, "apply", "--dry-run=server", "-f", "-")
	in(manifest, `^pod/t1 created\n$`, "apply", "-f", "-")
	in(manifest, `^pod/t1 unchanged\n$`, "apply", "-f", "-")
	n.expect(`condition met`, "wait", "--for=condition=Ready", "pod/t1", "--timeout=180s")
	n.eventually("the events of a start, as in tutorials", func() bool {
		return regexp.MustCompile(`(?s)Normal +Scheduled +\S+ +default-scheduler +Successfully assigned default/t1 to n1\n.*Started`).MatchString(n.kubectl("describe", "pod", "t1"))
	})
	before := n.awaitPhase("t1", corev1.PodRunning)
	in(strings.Replace(manifest, "app: t1", "app: t1, more: labels", 1), `^pod/t1 configured\n$`, "apply", "-f", "-")
	n.expect(`labels`, "get", "pod", "t1", "-o", "jsonpath={.metadata.labels.more}")
	in(strings.Replace(manifest, "hello", "other", 1), `pod updates may not change fields other than`, "apply", "-f", "-")
	in(strings.Replace(manifest, "restartPolicy", "", 1)+"  color: red\n", `unknown field "spec.color"`, "apply", "-f", "-")
	in(strings.Replace(manifest, "image: busybox", "image: \" \"", 1), `The Pod "t1" is invalid|spec.initContainers\[0\].image`, "apply", "-f", "-")
	n.expect(`pod/t1 labeled`, "label", "pod", "t1", "a=b")
	n.expect(`pod/t1 annotated`, "annotate", "pod", "t1", "c=d")
	n.expect(`pod/t1 patched`, "patch", "pod", "t1", "--type=json", "-p", `[{"op":"add","path":"/metadata/labels/x","value":"y"}]`)
	n.expect(`^b y d$`, "get", "pod", "t1", "-o", "jsonpath={.metadata.labels.a} {.metadata.labels.x} {.metadata.annotations.c}")
	if after := n.awaitPhase("t1", corev1.PodRunning); after.Status.ContainerStatuses[0].ContainerID != before.Status.ContainerStatuses[0].ContainerID {
		t.Error("labels have restarted the container")
	}

	in(strings.Replace(manifest, "name: t1", "generateName: many-", 1), `^pod/many-\w{5} created\n$`, "create", "-f", "-")
	n.expect(`pod/r created`, "run", "r", "--image=busybox", "--image-pull-policy=IfNotPresent", "--restart=Never", "--", "echo", "ran")
	n.expect(`condition met`, "wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/r", "--timeout=180s")
	n.expect(`r 0/1 Completed 0`, "get", "pod", "r")
	n.expect(`^ran\n$`, "logs", "r")

	n.apply("static.yaml", strings.ReplaceAll(ticker, "ticker", "static"))
	n.awaitPhase("static", corev1.PodRunning)
	n.eventually("events of a Pod that nobody has scheduled", func() bool {
		told := n.kubectl("describe", "pod", "static-n1")
		return strings.Contains(told, "Started") && !strings.Contains(told, "Successfully assigned")
	})
	in("", `(?s)Forbidden.*static-n1.*manifests/static\.yaml`, "delete", "pod", "static-n1")
	in("", `(?s)Forbidden.*manifests/static\.yaml`, "label", "pod", "static-n1", "a=b")

	n.expect(`pod "t1" deleted`, "delete", "pod", "t1") // and it has waited for the end
	if out, err := n.tryKubectl("", "get", "pod", "t1"); err == nil || !strings.Contains(out, "NotFound") {
		t.Errorf("after delete: %s", out)
	}
	n.expect(`deleted`, "delete", "pods", "-l", "app=t1", "--force", "--grace-period=0")
	n.expect(`deleted`, "delete", "pod", "r")
	n.expect(`^NAME READY STATUS RESTARTS AGE\nstatic-n1 .*\n$`, "get", "pods")
}
