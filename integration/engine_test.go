// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/minikubelet/minikubelet/runtime/engine"
)

// externalEngines has every node of the tests use a containerd daemon of its own
// instead of the one in the agent.
const externalEngines = "MINIKUBELET_TEST_CONTAINERD"

// newExternalNode makes a node with a containerd daemon of its own.
func newExternalNode(t *testing.T, flags ...string) *node {
	t.Helper()
	t.Setenv(externalEngines, "1")
	return newNode(t, flags...)
}

// externalAddress is the socket of the node's own containerd daemon.
func (n *node) externalAddress() string { return n.path("run/ctd.sock") }

// startExternal starts the node's containerd daemon. It finds the shim on PATH,
// as an administrator would have it there.
func (n *node) startExternal() {
	n.t.Helper()
	daemon := filepath.Join(filepath.Dir(n.bin), "externalcontainerd")
	if _, err := os.Stat(daemon); err != nil {
		n.t.Fatalf("%v; run make bin/externalcontainerd first", err)
	}
	log, err := os.OpenFile(n.path("containerd.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		n.t.Fatal(err)
	}
	defer log.Close()
	n.external = exec.Command(daemon, "-root", n.path("data/ctd"), "-state", n.path("run/ctd"), "-address", n.externalAddress())
	n.external.Env = append(os.Environ(), "PATH="+shimDir(n.t, n.bin)+":"+os.Getenv("PATH"))
	n.external.Stdout, n.external.Stderr = log, log
	if err := n.external.Start(); err != nil {
		n.t.Fatal(err)
	}
	n.eventually("containerd listens", func() bool {
		info, err := os.Stat(n.externalAddress())
		return err == nil && info.Mode().Type() == os.ModeSocket
	})
}

// shimDir is a directory with the shim: beside the program, or on PATH.
func shimDir(t *testing.T, program string) string {
	t.Helper()
	if _, err := os.Stat(filepath.Join(filepath.Dir(program), engine.ShimName)); err == nil {
		return filepath.Dir(program)
	}
	path, err := exec.LookPath(engine.ShimName)
	if err != nil {
		t.Fatalf("%v; run make build first", err)
	}
	return filepath.Dir(path)
}

// endExternal ends the node's containerd daemon, if it has one.
func (n *node) endExternal(sig syscall.Signal) {
	if n.external == nil {
		return
	}
	_ = n.external.Process.Signal(sig) // it may have ended
	_ = n.external.Wait()
	n.external = nil
	_ = os.Remove(n.externalAddress()) // so that the next one can be waited for
}

// TestExternalContainerd runs the core of the other tests with a containerd
// daemon that is not the agent's.
func TestExternalContainerd(t *testing.T) {
	if testing.Short() {
		t.Skip("repeats tests")
	}
	t.Setenv(externalEngines, "1")
	t.Run("order", TestInitContainersRunInOrderBeforeAppsInParallel)
	t.Run("adoption", TestContainersEndWhileTheAgentIsDown)
	t.Run("volumes", TestVolumeBehaviours)
	t.Run("restart of containerd", testContainerdRestarts)
	t.Run("death of containerd", testContainerdDies)
}

// testContainerdRestarts: an agent that runs while its containerd restarts sees
// the end of containers that ended meanwhile.
func testContainerdRestarts(t *testing.T) {
	n := newExternalNode(t)
	n.start()
	n.apply("job.yaml", crashPod("job", "Never", "", crashApp("a", "sleep 2; exit 7"), ""))
	n.apply("stay.yaml", crashPod("stay", "Always", "", crashApp("a", "trap \"exit 0\" TERM; while :; do sleep 0.1; done"), ""))
	n.awaitPhase("job", corev1.PodRunning)
	before := n.awaitPhase("stay", corev1.PodRunning)
	n.endExternal(syscall.SIGTERM)
	time.Sleep(3 * time.Second)
	n.startExternal()
	n.expectExit("job", 7)
	n.expectSame(before, "stay")
}

// testContainerdDies: agent and containerd are killed, and started again after
// containers have ended.
func testContainerdDies(t *testing.T) {
	n := newExternalNode(t)
	n.start()
	n.apply("job.yaml", crashPod("job", "Never", "", crashApp("a", "sleep 2; exit 7"), ""))
	n.apply("stay.yaml", crashPod("stay", "Always", "", crashApp("a", "trap \"exit 0\" TERM; while :; do sleep 0.1; done"), ""))
	n.awaitPhase("job", corev1.PodRunning)
	before := n.awaitPhase("stay", corev1.PodRunning)
	n.kill()
	n.endExternal(syscall.SIGKILL)
	time.Sleep(3 * time.Second)
	n.startExternal()
	n.start()
	n.expectExit("job", 7)
	n.expectSame(before, "stay")
}

// expectExit waits for the end of a Pod with one container and checks its code
// and times.
func (n *node) expectExit(name string, code int32) {
	n.t.Helper()
	pod := n.awaitPod(name, "ends", func(p *corev1.Pod) bool {
		return p.Status.Phase == corev1.PodFailed || p.Status.Phase == corev1.PodSucceeded
	})
	end := pod.Status.ContainerStatuses[0].State.Terminated
	if end == nil || end.ExitCode != code || end.FinishedAt.Before(&end.StartedAt) || end.StartedAt.IsZero() {
		n.t.Errorf("%s ended as %+v, want code %d", name, end, code)
	}
}

// expectSame checks that a Pod's containers are the same as before.
func (n *node) expectSame(before corev1.Pod, name string) {
	n.t.Helper()
	after := n.awaitPod(name, "runs", func(p *corev1.Pod) bool {
		return p.Status.Phase == corev1.PodRunning && p.Status.ContainerStatuses[0].State.Running != nil
	})
	was, is := before.Status.ContainerStatuses[0], after.Status.ContainerStatuses[0]
	if was.ContainerID != is.ContainerID || was.RestartCount != is.RestartCount || !strings.HasPrefix(is.ContainerID, "containerd://") {
		n.t.Errorf("%s was %s with %d restarts, is %s with %d", name, was.ContainerID, was.RestartCount, is.ContainerID, is.RestartCount)
	}
}

// TestExecutablesOfEarlierVersionsGo: each version's unpacked executables would stay
// on the disk for good.
func TestExecutablesOfEarlierVersionsGo(t *testing.T) {
	n := newNode(t)
	old := n.path("data/bin/0123456789abcdef")
	if err := os.MkdirAll(old, 0o755); err != nil {
		t.Fatal(err)
	}
	n.start()
	if _, err := os.Stat(old); !os.IsNotExist(err) {
		t.Errorf("the directory of an earlier version is still there (%v)", err)
	}
	n.apply("a.yaml", podOf("a", apps(sh("app", forever))))
	n.awaitPhase("a", corev1.PodRunning)
}
