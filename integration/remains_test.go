// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// succeeds lets a Pod end once its apps have ended well.
const succeeds = "restartPolicy: OnFailure"

// TestEndedPodsAreBounded has more ended Pods than are kept: the oldest go, with all
// that they have, but for the one of a manifest.
func TestEndedPodsAreBounded(t *testing.T) {
	n := startNode(t, "--terminated-pod-gc-threshold", "2")
	n.apply("fixed.yaml", podOf("fixed", succeeds, apps(sh("app", "echo fixed"))))
	n.awaitPhase("fixed", corev1.PodSucceeded)
	uids := map[string]string{}
	for _, name := range []string{"a", "b", "c", "d"} {
		n.create(podOf(name, succeeds, apps(sh("app", "echo "+name))))
		n.eventually(name+" ends", func() bool {
			p, there := n.pods()[name]
			if there {
				uids[name] = string(p.UID)
			}
			return p.Status.Phase == corev1.PodSucceeded || !there && uids[name] != ""
		})
	}
	n.awaitGone("a")
	n.awaitGone("b")
	for _, name := range []string{"c", "d", "fixed"} {
		p := n.awaitPhase(name, corev1.PodSucceeded)
		if said := n.log(p, "app", 0); len(said) != 1 || said[0] != name {
			t.Errorf("the log of %s: %v", name, said)
		}
	}
	logs, err := os.ReadDir(n.path("log"))
	if err != nil || len(logs) != 3 {
		t.Errorf("log directories: %v, %v", logs, err)
	}
}

// TestWhatStaysOfAnEndedPod has the volumes and the records before the last one go.
func TestWhatStaysOfAnEndedPod(t *testing.T) {
	n := startNode(t)
	n.create(podOf("twice", "volumes: [{name: v, emptyDir: {}}, {name: m, emptyDir: {medium: Memory}}]", succeeds,
		apps(sh("app", "test -e /v/again && exec echo second; echo first; touch /v/again; exit 1", "volumeMounts: [{name: v, mountPath: /v}, {name: m, mountPath: /m}]"))))
	p := n.awaitPhase("twice", corev1.PodSucceeded)
	dir := n.path("data", "pods", string(p.UID), "volumes")
	n.eventually("the volumes are gone", func() bool {
		left, err := filepath.Glob(filepath.Join(dir, "*", "*"))
		return err == nil && len(left) == 0
	})
	n.eventually("the first attempt's log is gone", func() bool {
		_, err := os.Stat(n.logPath(p, "app", 0))
		return os.IsNotExist(err)
	})
	if said := n.log(p, "app", 1); len(said) != 1 {
		t.Errorf("the last attempt's log: %v", said)
	}
	n.kill()
	n.start()
	if p := n.awaitPhase("twice", corev1.PodSucceeded); status(&p, "app").RestartCount != 1 || status(&p, "app").LastTerminationState.Terminated.ExitCode != 1 {
		t.Errorf("after a restart: %+v", p.Status.ContainerStatuses)
	} else if image := status(&p, "app").Image; image != "docker.io/library/busybox:latest" {
		t.Errorf("image %s, want its full name", image)
	}
}

// TestLogsWithoutAPod loses the data directory, and with it who had the logs: those
// that are marked as this agent's go, and nobody else's.
func TestLogsWithoutAPod(t *testing.T) {
	if os.Getenv(externalEngines) != "" {
		t.Skip("the data directory of an external containerd cannot be lost under it")
	}
	n := startNode(t)
	n.create(podOf("lost", succeeds, apps(sh("app", "echo lost"))))
	p := n.awaitPhase("lost", corev1.PodSucceeded)
	own := filepath.Dir(filepath.Dir(n.logPath(p, "app", 0)))
	n.eventually("nothing of the Pod is mounted", func() bool {
		mounts, err := os.ReadFile("/proc/self/mounts")
		return err == nil && !bytes.Contains(mounts, []byte(n.path("data", "pods")))
	})
	n.terminate()
	owner, err := os.ReadFile(filepath.Join(own, ".minikubelet-owner"))
	if err != nil {
		t.Fatal(err)
	}
	others := map[string]string{
		"default_kubelets_0a1b2c3d-0000-4000-8000-000000000001": "",
		"default_another_0a1b2c3d-0000-4000-8000-000000000002":  "/var/lib/another/pods\n",
		"not-a-pod": string(owner),
	}
	for name, mark := range others {
		if err := os.Mkdir(n.path("log", name), 0o755); err != nil {
			t.Fatal(err)
		}
		if mark != "" {
			if err := os.WriteFile(n.path("log", name, ".minikubelet-owner"), []byte(mark), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, dir := range []string{"state.db", "containerd", "pods"} {
		if err := os.RemoveAll(n.path("data", dir)); err != nil {
			t.Fatal(err)
		}
	}
	n.start()
	n.eventually("the lost Pod's logs are gone", func() bool {
		_, err := os.Stat(own)
		return os.IsNotExist(err)
	})
	for name := range others {
		if _, err := os.Stat(n.path("log", name)); err != nil {
			t.Errorf("somebody else's: %v", err)
		}
		if err := os.RemoveAll(n.path("log", name)); err != nil {
			t.Error(err)
		}
	}
}
