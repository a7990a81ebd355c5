// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/minikubelet/minikubelet/runtime/image/imagetest"
)

// TestImageVolumes: an image of a private registry, pulled with the Pod's own
// credentials, is a read-only volume of two containers, outlives the agent, and goes
// with the Pod.
func TestImageVolumes(t *testing.T) {
	kubectlPath(t)
	r := newRegistry(t, "user", "sesame")
	img, err := imagetest.New(imagetest.Options{
		Layers: imagetest.Gzip,
		Files:  []imagetest.File{{Path: "model/weights", Mode: 0o644, Content: []byte("heavy\n")}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := imagetest.Push(t.Context(), &http.Client{Transport: r}, r.URL, "data", "v1", img); err != nil {
		t.Fatal(err)
	}
	n := startNode(t)
	script := "cat /img/model/weights /sub/weights; (echo no >/img/model/weights) 2>&1 | grep -o 'Read-only file system'; " +
		"(echo no >/sub/new) 2>&1 | grep -o 'Read-only file system'; echo looked; "
	mounts := "volumeMounts: [{name: i, mountPath: /img}, {name: i, mountPath: /sub, subPath: model}, {name: v, mountPath: /v}]"
	n.applied(podOf("reader", "restartPolicy: Always", "imagePullSecrets: [{name: registry}]",
		apps(sh("a", script+forever, mounts), sh("b", script+"until test -e /v/go; do sleep 0.1; done; exit 1", mounts)),
		"volumes: [{name: v, emptyDir: {}}, {name: i, image: {reference: "+quote(r.ref("data", "v1"))+", pullPolicy: IfNotPresent}}]"))
	n.awaitPod("reader", "cannot pull", func(p *corev1.Pod) bool { return waits(p, "a", "ErrImagePull") || waits(p, "a", "ImagePullBackOff") })
	n.told("reader", "FailedToRetrieveImagePullSecret: Unable to retrieve some image pull secrets (registry); attempting to pull the image may not succeed.")

	config := fmt.Sprintf(`{"auths": {%q: {"auth": %q}}}`, strings.TrimPrefix(r.URL, "http://"), base64.StdEncoding.EncodeToString([]byte("user:sesame")))
	n.applied("apiVersion: v1\nkind: Secret\ntype: kubernetes.io/dockerconfigjson\nmetadata: {name: registry}\nstringData: {.dockerconfigjson: " + quote(config) + "}\n")
	pod := n.awaitPod("reader", "runs", func(p *corev1.Pod) bool { return running(p, "a", 0) })
	for _, c := range []string{"a", "b"} {
		n.saysLine(pod, c, 0, "looked")
		if got, want := n.log(pod, c, 0), []string{"heavy", "heavy", "Read-only file system", "Read-only file system", "looked"}; !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", c, got, want)
		}
	}
	n.kill()
	n.start()
	dir := n.path("data/pods", string(pod.UID), "volumes")
	if data, err := os.ReadFile(dir + "/kubernetes.io~image/i/model/weights"); err != nil || string(data) != "heavy\n" {
		t.Errorf("after kill -9: %q, %v", data, err)
	}
	if err := os.WriteFile(dir+"/kubernetes.io~empty-dir/v/go", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	n.saysLine(pod, "b", 1, "looked")
	n.kubectl("delete", "pod", "reader")
	n.awaitGone("reader")
	if out, err := n.tryKubectl(podOf("never", apps(sh("a", forever, "volumeMounts: [{name: i, mountPath: /img}]")),
		"volumes: [{name: i, image: {reference: registry.invalid/no/such, pullPolicy: Never}}]"), "apply", "-f", "-"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	n.awaitPod("never", "is not pulled", func(p *corev1.Pod) bool { return waits(p, "a", "ErrImageNeverPull") })
}

// TestArtifactVolumes: each layer of an artifact is a file of a read-only volume, whole
// or one alone, with and without a user namespace. None can be a container.
func TestArtifactVolumes(t *testing.T) {
	kubectlPath(t)
	r := newRegistry(t, "", "")
	for name, title := range map[string]string{"model": "conf/a.json", "bad": "../a.json"} {
		r.pushArtifact(name, imagetest.File{Path: "weights", Content: []byte("heavy\n")}, imagetest.File{Path: title, Content: []byte("{}\n")})
	}
	n := newNode(t)
	n.openToAll()
	n.start()
	volume := func(name string) string {
		return "volumes: [{name: i, image: {reference: " + quote(r.ref(name, "v1")) + ", pullPolicy: IfNotPresent}}]"
	}
	const mounts = "volumeMounts: [{name: i, mountPath: /art}, {name: i, mountPath: /conf, subPath: conf}, {name: i, mountPath: /one, subPath: weights}]"
	script := "cat /art/weights /art/conf/a.json /conf/a.json /one; stat -c '%a %u' /art/weights /art/conf; for f in /art/weights /one /conf/new; do (echo no >$f) 2>&1 | grep -o 'Read-only file system'; done; echo looked; " + forever
	want := slices.Concat([]string{"heavy", "{}", "{}", "heavy", "644 0", "755 0"}, slices.Repeat([]string{"Read-only file system"}, 3), []string{"looked"})
	n.applied(podOf("reader", apps(sh("a", script, mounts)), volume("model")))
	n.applied(podOf("mapped", ownUsers, apps(sh("a", script, mounts)), volume("model")))
	for _, name := range []string{"reader", "mapped"} {
		pod := n.awaitRunning(name)
		n.saysLine(pod, "a", 0, "looked")
		if got := n.log(pod, "a", 0); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	n.applied(podOf("never", apps(sh("a", forever, mounts)), volume("bad")))
	n.awaitPod("never", "is told why", func(p *corev1.Pod) bool {
		return waits(p, "a", "ErrImagePull") && strings.Contains(status(p, "a").State.Waiting.Message, `has the title "../a.json" (annotation org.opencontainers.image.title): it is no path below a directory`)
	})
	n.applied(podOf("run", apps("{name: a, image: "+quote(r.ref("model", "v1"))+", command: [/weights]}")))
	n.awaitPod("run", "cannot be run", func(p *corev1.Pod) bool {
		return waits(p, "a", "CreateContainerError") && strings.Contains(status(p, "a").State.Waiting.Message, "it can be a volume, but no container")
	})
	n.kubectl("delete", "pods", "--all", "--wait=false")
	for _, name := range []string{"reader", "mapped", "never", "run"} {
		n.awaitGone(name)
	}
}
