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
// that says "one" and then "two".
type volumeKind struct {
	source string // of the volume
	// objects are what the Pod needs besides, changed what makes its files say "two".
	objects, changed string
	// words are what the files have in place of "one" and "two".
	words map[string]string
	// written: the Pod writes its files itself; fixed: nobody changes them.
	written, fixed bool
	// mounted: it is a mount, which a process outside keeps busy.
	mounted bool
	// dir is where the host has it, or the kubelet's name of the type.
	dir string
	// claim names the claim of a Pod, by which the directory is found.
	claim func(pod string) string
	// stays: the directory and what is in it outlive the Pod.
	stays bool
}

// volumeKinds are all types with files that can be written and read on any machine. Huge
// pages can but be mapped, block devices have no files, and nfs is not in every kernel: see
// TestHugePagesVolume, TestBlockDevices and TestNFSVolumes.
func volumeKinds(t *testing.T, r *testRegistry) map[string]volumeKind {
	t.Helper()
	kinds := map[string]volumeKind{
		"emptydir": {source: "emptyDir: {}", written: true, dir: "empty-dir"},
		"memory":   {source: "emptyDir: {medium: Memory}", written: true, mounted: true, dir: "empty-dir"},
		"configmap": {source: "configMap: {name: conf}", mounted: true, dir: "configmap",
			objects: conf("conf", "k: one"), changed: conf("conf", "k: two")},
		"secret": {source: "secret: {secretName: hidden}", mounted: true, dir: "secret",
			objects: secret("hidden", "k: one"), changed: secret("hidden", "k: two")},
		"downward": {source: "downwardAPI: {items: [{path: k, fieldRef: {fieldPath: 'metadata.labels[''k'']'}}]}", mounted: true, dir: "downward-api"},
		"projected": {source: "projected: {sources: [{configMap: {name: several}}]}", mounted: true, dir: "projected",
			objects: conf("several", "k: one"), changed: conf("several", "k: two")},
		"token": {source: "projected: {sources: [{serviceAccountToken: {path: k}}]}", fixed: true, mounted: true, dir: "projected",
			words: map[string]string{"one": "eyJ"}}, // as each begins
		"claim": {source: "persistentVolumeClaim: {claimName: data}", objects: claim("data", "ReadWriteOnce", ""), written: true, stays: true,
			claim: func(string) string { return "data" }},
		"ephemeral": {source: "ephemeral: {volumeClaimTemplate: {spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Mi}}}}}", written: true,
			claim: func(pod string) string { return pod + "-v" }},
	}
	host := t.TempDir()
	kinds["hostpath"] = volumeKind{source: "hostPath: {path: " + host + "}", written: true, stays: true, dir: host}
	host = t.TempDir()
	kinds["claim-hostpath"] = handMade("by-path", host, "hostPath: {path: "+host+"}")
	host = t.TempDir()
	kinds["claim-local"] = handMade("by-node", host, "local: {path: "+host+"}, "+
		"nodeAffinity: {required: {nodeSelectorTerms: [{matchExpressions: [{key: kubernetes.io/hostname, operator: Exists}]}]}}")
	for name, repo := range map[string]string{"image": "files", "artifact": "artifact"} {
		kinds[name] = volumeKind{source: "image: {reference: " + quote(r.ref(repo, "v1")) + ", pullPolicy: IfNotPresent}", fixed: true, mounted: true, dir: "image"}
	}
	before, after := newCA(t), newCA(t)
	kinds["trustbundle"] = volumeKind{source: "projected: {sources: [{clusterTrustBundle: {name: anchors, path: k}}]}", mounted: true, dir: "projected",
		objects: trustBundle("anchors", "", before), changed: trustBundle("anchors", "", after),
		words: map[string]string{"one": signatureOf(before), "two": signatureOf(after)}}
	return kinds
}

// handMade is a directory of the host as a PersistentVolume that nobody provisions, with
// its claim.
func handMade(name, dir, source string) volumeKind {
	return volumeKind{
		source: "persistentVolumeClaim: {claimName: " + name + "}", written: true, stays: true, dir: dir,
		objects: "apiVersion: v1\nkind: PersistentVolume\nmetadata: {name: " + name + "}\n" +
			"spec: {capacity: {storage: 1Mi}, accessModes: [ReadWriteOnce], storageClassName: " + name + ", " + source + "}\n---\n" +
			claim(name, "ReadWriteOnce", ", storageClassName: "+name),
	}
}

// signatureOf is a line of a certificate in PEM that no other certificate has.
func signatureOf(pem string) string {
	lines := strings.Split(strings.TrimSpace(pem), "\n")
	return lines[len(lines)-3]
}

// TestVolumeBehaviours is one story, the same for every type of volume: two containers
// read it, one of them again after its restart, both see it change after the agent's
// death, and it goes with its Pod although somebody uses it, or once nobody does any
// more.
func TestVolumeBehaviours(t *testing.T) {
	kubectlPath(t)
	r := newRegistry(t, "", "")
	file := imagetest.File{Path: "k", Mode: 0o644, Content: []byte("one\n")}
	files, err := imagetest.New(imagetest.Options{Layers: imagetest.Gzip, Files: []imagetest.File{file}})
	if err != nil {
		t.Fatal(err)
	}
	if err := imagetest.Push(t.Context(), r.Client(), r.URL, "files", "v1", files); err != nil {
		t.Fatal(err)
	}
	r.pushArtifact("artifact", file)
	n := startNode(t)
	kinds := volumeKinds(t, r)
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

	dirs, users := make(map[string]string), make(map[string]*os.File)
	for name, k := range kinds {
		dirs[name] = k.find(n, pods[name])
		f, err := os.Open(filepath.Join(dirs[name], "k"))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		defer f.Close()
		users[name] = f
		n.kubectl("delete", "pod", name, "--wait=false")
	}
	for name, k := range kinds {
		if k.mounted { // it is tried again, and the others do not wait for it
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
	for _, f := range users {
		f.Close()
	}
	for name := range kinds {
		n.awaitGone(name)
	}
}

// word is what a file has that says this.
func (k volumeKind) word(said string) string {
	if own, there := k.words[said]; there {
		return own
	}
	return said
}

// create makes the Pod with the volume.
func (k volumeKind) create(n *node, name string) {
	n.t.Helper()
	if k.objects != "" {
		n.applied(k.objects)
	}
	begin := ""
	if k.written {
		begin = "test -e /v/k || echo one >/v/k; "
	}
	follow := "until grep -q . /v/k; do sleep 0.1; done; grep -qF " + k.word("one") + " /v/k && echo read one; " +
		"until grep -qF " + k.word("two") + " /v/k; do sleep 0.1; done; echo saw two; " + forever
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
	case k.changed != "":
		n.applied(k.changed)
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
