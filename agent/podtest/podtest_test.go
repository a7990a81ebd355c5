// SPDX-License-Identifier: Apache-2.0

package podtest_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/minikubelet/minikubelet/agent/podtest"
	"github.com/minikubelet/minikubelet/runtime/image/imagetest"
)

// newNode is a node with busybox in its store.
func newNode(t *testing.T) *podtest.TestNode {
	t.Helper()
	if testing.Short() {
		t.Skip("makes containers")
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root: containers are made")
	}
	archive := filepath.Join(t.TempDir(), "busybox.tar")
	if err := imagetest.BuildFile(archive, imagetest.Options{}); err != nil {
		t.Fatal(err)
	}
	return podtest.New(t, podtest.Options{Images: []string{archive}})
}

const job = `
apiVersion: v1
kind: ConfigMap
metadata: {name: words}
data: {greeting: hello}
---
apiVersion: v1
kind: Pod
metadata: {name: job}
spec:
  restartPolicy: Never
  initContainers:
  - {name: first, image: busybox, imagePullPolicy: Never, command: [sh, -c, 'echo "$WORD from init" >/v/file'],
     env: [{name: WORD, valueFrom: {configMapKeyRef: {name: words, key: greeting}}}], volumeMounts: [{name: v, mountPath: /v}]}
  containers:
  - {name: app, image: busybox, imagePullPolicy: Never, command: [cat, /v/file], volumeMounts: [{name: v, mountPath: /v}]}
  volumes: [{name: v, emptyDir: {}}]
`

func TestAPodRunsAndIsGone(t *testing.T) {
	node := newNode(t)
	pod := node.Apply(job)[0]
	node.Await(pod, podtest.Succeeded)
	if got := node.Log(pod, "app"); got != "hello from init\n" {
		t.Errorf("the app wrote %q", got)
	}
	var reasons []string
	for _, e := range node.Events(pod) {
		reasons = append(reasons, e.Reason)
	}
	if got := strings.Join(reasons, " "); !strings.Contains(got, "Started") {
		t.Errorf("events %q", got)
	}
	node.Delete(pod, nil)
	if _, err := node.Get(pod); !apierrors.IsNotFound(err) {
		t.Errorf("after its deletion: %v", err)
	}
}

// sleeper runs until it is told to end.
func sleeper() *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "sleeper"}, Spec: corev1.PodSpec{
		Containers: []corev1.Container{{
			Name: "app", Image: "busybox", ImagePullPolicy: corev1.PullNever, Command: []string{"sleep", "1000"},
		}},
	}}
}

func TestExecTellsOutputAndExitCode(t *testing.T) {
	node := newNode(t)
	pod := node.Create(sleeper())
	node.Await(pod, podtest.Ready)
	got := node.Exec(pod, "app", "sh", "-c", "echo out; echo err >&2; exit 3")
	if want := (podtest.Output{Stdout: "out\n", Stderr: "err\n", ExitCode: 3}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

// TestCloseEndsWhatRuns opens two nodes, since one must not disturb the other, and
// closes one over a Pod that runs.
func TestCloseEndsWhatRuns(t *testing.T) {
	other := newNode(t)
	if _, err := podtest.Open(t.Context(), podtest.Options{Images: []string{other.Path("busybox.tar")}}); err == nil {
		t.Fatal("an image archive that is not there was imported")
	}
	node, err := podtest.Open(t.Context(), podtest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	mine := other.Create(sleeper())
	other.Await(mine, podtest.Running)
	pod, err := node.Create(sleeper())
	if err != nil {
		t.Fatal(err)
	}
	isUp := func(p *corev1.Pod) bool { return p.Status.PodIP != "" }
	if pod, err = node.Await(t.Context(), pod, isUp); err != nil {
		t.Fatal(err)
	}
	if err := node.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(node.Path()); !os.IsNotExist(err) {
		t.Errorf("the node's directory: %v", err)
	}
	links, err := netlink.LinkList()
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) { // by another test
		t.Fatal(err)
	}
	for _, link := range links {
		if strings.Contains(link.Attrs().Alias, string(pod.UID)) {
			t.Errorf("the interface %s is left", link.Attrs().Name)
		}
	}
	if now, err := other.Get(mine); err != nil || !podtest.Running(now) {
		t.Errorf("the other node's Pod: %v", err)
	}
}

// TestErrorsTellTheStory is about what a test's author reads when a Pod does not do
// as awaited.
func TestErrorsTellTheStory(t *testing.T) {
	node := newNode(t)
	bad := sleeper()
	bad.Spec.RestartPolicy = corev1.RestartPolicyNever
	bad.Spec.Containers[0].Command = []string{"false"}
	pod := node.Create(bad)
	_, err := node.Node.Await(t.Context(), pod, podtest.Succeeded)
	if err == nil || !strings.Contains(err.Error(), "status Error") || !strings.Contains(err.Error(), "Started: Container started") {
		t.Errorf("a Pod that failed: %v", err)
	}
	node.Delete(pod, ptr.To[int64](0))

	missing := sleeper()
	missing.Spec.Containers[0].Image = "missing"
	pod = node.Create(missing)
	waiting := func(p *corev1.Pod) bool {
		return len(p.Status.ContainerStatuses) > 0 && p.Status.ContainerStatuses[0].State.Waiting != nil &&
			p.Status.ContainerStatuses[0].State.Waiting.Reason == "ErrImageNeverPull"
	}
	node.Await(pod, waiting)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err = node.Node.Await(ctx, pod, podtest.Running)
	if err == nil || !strings.Contains(err.Error(), "ErrImageNeverPull") {
		t.Errorf("a Pod without its image: %v", err)
	}
	if _, err := node.Node.Apply("{apiVersion: v1, kind: Pod, metadata: {name: x}, spec: {containers: [{nam: y}]}}"); err == nil || !strings.Contains(err.Error(), "nam") {
		t.Errorf("a faulty manifest: %v", err)
	}
}
