// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func claim(name, mode, more string) string {
	return "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: " + name + "}\nspec: {accessModes: [" + mode + "], resources: {requests: {storage: 1Mi}}" + more + "}\n"
}

func mounts(claim string) string {
	return "volumes: [{name: v, persistentVolumeClaim: {claimName: " + claim + "}}]"
}

// TestClaims: what one Pod writes the next one reads, whatever happens to the agent;
// then Delete removes it and Retain keeps it.
func TestClaims(t *testing.T) {
	kubectlPath(t)
	n := startNode(t)
	n.expect(`local-path \(default\) minikubelet/local-path Delete WaitForFirstConsumer false \w+`, "get", "sc")
	n.applied(podOf("writer", mounts("data"), "securityContext: {fsGroup: 4321}",
		apps(sh("a", "stat -c '%g %a' /v; echo kept >/v/f; echo written; "+forever, onV))))
	n.told("writer", `FailedMount: Unable to attach or mount volumes: unmounted volumes=[v], unattached volumes=[], failed to process volumes=[v]: `+
		`error processing PVC default/data: failed to fetch PVC from API server: persistentvolumeclaims "data" not found`)
	n.applied(claim("data", "ReadWriteOncePod", ""))
	pod := n.awaitRunning("writer")
	n.saysLine(pod, "a", 0, "written")
	if got := n.log(pod, "a", 0)[0]; got != "4321 2777" {
		t.Errorf("the volume's owner and mode: %s", got)
	}
	n.expect(`data Bound pvc-\S+ 1Mi RWOP local-path <unset> \w+`, "get", "pvc", "data")
	n.expect(`pvc-\S+ 1Mi RWOP Delete Bound default/data local-path <unset> \w+`, "get", "pv")

	n.applied(podOf("second", mounts("data"), apps(sh("a", "cat /v/f; "+forever, onV))))
	n.told("second", "FailedMount: Unable to attach or mount volumes: unmounted volumes=[v], unattached volumes=[], failed to process volumes=[v]: "+
		"volume uses the ReadWriteOncePod access mode and is already in use by another pod")
	n.kill()
	n.start()
	n.kubectl("delete", "pod", "writer")
	n.saysLine(n.awaitRunning("second"), "a", 0, "kept")

	n.kubectl("delete", "pvc", "data", "--wait=false")
	n.expect(`data Terminating`, "get", "pvc", "data")
	n.kill()
	n.start()
	n.kubectl("delete", "pod", "second")
	n.eventually("the claim's volume and data are gone", func() bool {
		out, err := n.tryKubectl("", "get", "pvc,pv", "-o", "name")
		return err == nil && out == "" && len(n.volumes()) == 0
	})

	n.applied("apiVersion: storage.k8s.io/v1\nkind: StorageClass\nmetadata: {name: keeps}\nprovisioner: minikubelet/local-path\nreclaimPolicy: Retain\n")
	n.applied(claim("kept", "ReadWriteMany", ", storageClassName: keeps"))
	n.eventually("the claim is bound", func() bool {
		out, _ := n.tryKubectl("", "get", "pvc", "kept")
		return strings.Contains(out, "Bound")
	})
	n.kubectl("delete", "pvc", "kept")
	n.eventually("the volume is released and stays", func() bool {
		out, _ := n.tryKubectl("", "get", "pv")
		return strings.Contains(out, "Released") && len(n.volumes()) == 1
	})
	n.kubectl("delete", "pv", "--all")
	if len(n.volumes()) != 1 {
		t.Errorf("data of a volume with the policy Retain: %v", n.volumes())
	}
}

// TestEphemeralVolume: the Pod's own claim comes and goes with it.
func TestEphemeralVolume(t *testing.T) {
	kubectlPath(t)
	n := startNode(t)
	n.applied(podOf("own", "volumes: [{name: v, ephemeral: {volumeClaimTemplate: {spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Mi}}}}}}]",
		apps(sh("a", "echo x >/v/f && echo written; "+forever, onV))))
	n.saysLine(n.awaitRunning("own"), "a", 0, "written")
	n.expect(`own-v Bound`, "get", "pvc", "own-v")
	n.kubectl("delete", "pod", "own")
	n.eventually("the claim's volume and data are gone", func() bool {
		out, err := n.tryKubectl("", "get", "pvc,pv", "-o", "name")
		return err == nil && out == "" && len(n.volumes()) == 0
	})
}

// TestClaimsWait: a claim that cannot be had says why.
func TestClaimsWait(t *testing.T) {
	kubectlPath(t)
	n := startNode(t)
	n.applied(claim("waits", "ReadWriteOnce", ""))
	n.told("waits", "WaitForFirstConsumer: waiting for first consumer to be created before binding")
	n.applied(strings.Replace(claim("huge", "ReadWriteOnce", ""), "1Mi", "1Ei", 1))
	n.applied(podOf("app", mounts("huge"), apps(sh("a", forever, onV))))
	n.awaitEvent("huge", `ProvisioningFailed: failed to provision volume with StorageClass "local-path": not enough capacity: 1Ei requested`)
	if p := n.pods()["app"]; p.Status.Phase != corev1.PodPending {
		t.Errorf("%s", p.Status.Phase)
	}
}

// TestClaimsGrow: a claim may ask for more where its class says so, and gets it where
// there is room.
func TestClaimsGrow(t *testing.T) {
	kubectlPath(t)
	n := startNode(t)
	more := func(name, size string) (string, error) {
		return n.tryKubectl("", "patch", "pvc", name, "-p", `{"spec":{"resources":{"requests":{"storage":"`+size+`"}}}}`)
	}
	n.applied("apiVersion: storage.k8s.io/v1\nkind: StorageClass\nmetadata: {name: grows}\nprovisioner: minikubelet/local-path\nallowVolumeExpansion: true\n")
	n.applied(claim("grows", "ReadWriteOnce", ", storageClassName: grows"))
	n.applied(claim("stays", "ReadWriteOnce", ""))
	n.applied(podOf("user", mounts("stays"), apps(sh("a", forever, onV))))
	n.awaitRunning("user")
	if out, err := more("stays", "2Mi"); err == nil || !strings.Contains(out, `persistentvolumeclaims "stays" is forbidden: only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize`) {
		t.Errorf("%v: %s", err, out)
	}
	n.eventually("the claim is bound", func() bool {
		out, _ := n.tryKubectl("", "get", "pvc", "grows")
		return strings.Contains(out, "Bound")
	})
	if out, err := more("grows", "5Mi"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	n.eventually("the claim and its volume have grown", func() bool {
		out, err := n.tryKubectl("", "get", "pvc/grows", "-o", "jsonpath={.status.capacity.storage}")
		of, failed := n.tryKubectl("", "get", "pv", "-o", "jsonpath={.items[?(@.spec.storageClassName=='grows')].spec.capacity.storage}")
		return err == nil && failed == nil && out == "5Mi" && of == "5Mi"
	})
	n.awaitEvent("grows", "VolumeResizeSuccessful: Resize volume succeeded")
	if out, err := more("grows", "1Ei"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	n.awaitEvent("grows", "VolumeResizeFailed: resize volume \"pvc-")
	n.expect(`grows Bound pvc-\S+ 5Mi`, "get", "pvc", "grows")
}

// volumes are the directories of persistent volumes.
func (n *node) volumes() []string {
	n.t.Helper()
	entries, err := os.ReadDir(n.path("data", "volumes"))
	if err != nil {
		n.t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		out = append(out, filepath.Base(e.Name()))
	}
	return out
}
