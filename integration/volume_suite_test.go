// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/minikubelet/minikubelet/runtime/image/imagetest"
)

// volumeKind is a type of volume that the suite runs over: the volume v has a file k
// that says "one".
type volumeKind struct {
	source string // of the volume
	// objects are what the Pod needs besides, in which ONE is "one" or "two".
	objects string
	// written: the Pod writes its files itself; else the objects do, unless fixed.
	written, fixed bool
	// memory: a process outside keeps it busy.
	memory bool
	// dir is where the host has it, or the kubelet's name of the type.
	dir string
	// claim names the claim of a Pod, by which the directory is found.
	claim func(pod string) string
	// stays: the directory and what is in it outlive the Pod.
	stays bool
}

func volumeKinds(image, host string) map[string]volumeKind {
	const template = "{spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Mi}}}}"
	return map[string]volumeKind{
		"emptydir":  {source: "emptyDir: {}", written: true, dir: "empty-dir"},
		"memory":    {source: "emptyDir: {medium: Memory}", written: true, memory: true, dir: "empty-dir"},
		"hostpath":  {source: "hostPath: {path: " + host + "}", written: true, stays: true, dir: host},
		"configmap": {source: "configMap: {name: conf}", objects: conf("conf", "k: ONE"), memory: true, dir: "configmap"},
		"secret":    {source: "secret: {secretName: hidden}", objects: secret("hidden", "k: ONE"), memory: true, dir: "secret"},
		"projected": {source: "projected: {sources: [{configMap: {name: several}}]}", objects: conf("several", "k: ONE"), memory: true, dir: "projected"},
		"downward":  {source: "downwardAPI: {items: [{path: k, fieldRef: {fieldPath: 'metadata.labels[''k'']'}}]}", memory: true, dir: "downward-api"},
		"image":     {source: "image: {reference: " + quote(image) + ", pullPolicy: IfNotPresent}", fixed: true, memory: true, dir: "image"},
		"claim": {source: "persistentVolumeClaim: {claimName: data}", objects: claim("data", "ReadWriteOnce", ""), written: true, stays: true,
			claim: func(string) string { return "data" }},
		"ephemeral": {source: "ephemeral: {volumeClaimTemplate: " + template + "}", written: true,
			claim: func(pod string) string { return pod + "-v" }},
	}
}

// TestVolumeBehaviours is one story, the same for every type of volume: two containers
// read it, one of them again after its restart, both see it change after the agent's
// death, and it goes with its Pod although somebody uses it, or once nobody does any
// more.
func TestVolumeBehaviours(t *testing.T) {
	kubectlPath(t)
	r := newRegistry(t, "", "")
	img, err := imagetest.New(imagetest.Options{Layers: imagetest.Gzip, Files: []imagetest.File{{Path: "k", Mode: 0o644, Content: []byte("one\n")}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := imagetest.Push(t.Context(), r.Client(), r.URL, "data", "v1", img); err != nil {
		t.Fatal(err)
	}
	n := newNode(t)
	n.start()
	kinds := volumeKinds(r.ref("data", "v1"), t.TempDir())
	pods := make(map[string]corev1.Pod)
	for name, k := range kinds {
		k.create(n, name)
	}
	for name := range kinds {
		pod := n.awaitRunning(name)
		n.saysLine(pod, "a", 0, "read one")
		n.saysLine(pod, "b", 0, "read one")
		n.killContainer(pod, "b")
		pods[name] = pod
	}
	for name := range kinds {
		n.saysLine(pods[name], "b", 1, "read one")
	}

	n.kill()
	n.start()
	for name, k := range kinds {
		k.update(n, name)
	}
	for name, k := range kinds {
		if !k.fixed {
			n.saysLine(pods[name], "a", 0, "saw two")
			n.saysLine(pods[name], "b", 1, "saw two")
		}
		n.awaitPod(name, "b alone was restarted", func(p *corev1.Pod) bool { return running(p, "b", 1) })
		if p := n.pods()[name]; status(&p, "a").RestartCount != 0 || status(&p, "b").RestartCount != 1 {
			t.Errorf("%s: %+v", name, p.Status.ContainerStatuses)
		}
	}

	dirs := make(map[string]string)
	for name, k := range kinds {
		dirs[name] = k.find(n, pods[name])
		f, err := os.Open(filepath.Join(dirs[name], "k"))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		t.Cleanup(func() { f.Close() })
		n.kubectl("delete", "pod", name, "--wait=false")
		if k.memory { // it is tried again, and the others do not wait for it
			defer n.awaitGone(name)
			defer f.Close()
		}
	}
	for name, k := range kinds {
		if k.memory {
			n.awaitEvent(name, `FailedKillPod: error killing pod: UnmountVolume.TearDown failed for volume "v" : `)
			if _, there := n.pods()[name]; !there {
				t.Errorf("%s: the Pod is gone although its volume is in use", name)
			}
			continue
		}
		n.awaitGone(name)
		if k.stays {
			if got, err := os.ReadFile(filepath.Join(dirs[name], "k")); err != nil || string(got) != "two\n" {
				t.Errorf("%s: what was to stay: %q, %v", name, got, err)
			}
			continue
		}
		n.eventually(name+": the volume is gone", func() bool {
			_, err := os.Lstat(dirs[name])
			return os.IsNotExist(err)
		})
	}
}

// create makes the Pod with the volume.
func (k volumeKind) create(n *node, name string) {
	n.t.Helper()
	if k.objects != "" {
		n.applied(strings.ReplaceAll(k.objects, "ONE", "one"))
	}
	begin := ""
	if k.written {
		begin = "test -e /v/k || echo one >/v/k; "
	}
	const follow = "until grep -q . /v/k; do sleep 0.1; done; echo \"read $(cat /v/k)\"; until grep -q two /v/k; do sleep 0.1; done; echo saw two; " + forever
	pod := podOf(name, "restartPolicy: Always", "volumes: [{name: v, "+k.source+"}]", apps(sh("a", begin+follow, onV), sh("b", follow, onV)))
	n.applied(strings.Replace(pod, "{name: "+name+"}", "{name: "+name+", labels: {k: one}}", 1))
}

// update changes the file, unless nobody can.
func (k volumeKind) update(n *node, name string) {
	n.t.Helper()
	switch {
	case k.fixed:
	case k.written:
		n.kubectl("exec", name, "-c", "a", "--", "sh", "-c", "echo two >/v/k")
	case k.objects != "":
		n.applied(strings.ReplaceAll(k.objects, "ONE", "two"))
	default:
		n.kubectl("label", "pod", name, "k=two", "--overwrite")
	}
}

// find is the directory of the volume on the host.
func (k volumeKind) find(n *node, pod corev1.Pod) string {
	n.t.Helper()
	switch {
	case filepath.IsAbs(k.dir):
		return k.dir
	case k.claim == nil:
		return n.path("data/pods", string(pod.UID), "volumes", "kubernetes.io~"+k.dir, "v")
	}
	var claim corev1.PersistentVolumeClaim
	if err := n.get("/api/v1/namespaces/default/persistentvolumeclaims/"+k.claim(pod.Name), &claim); err != nil {
		n.t.Fatal(err)
	}
	return n.path("data/volumes", claim.Spec.VolumeName)
}
