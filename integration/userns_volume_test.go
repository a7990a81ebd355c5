// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/minikubelet/minikubelet/runtime/image/imagetest"
)

// TestUserNamespaceVolumes: volumes of all kinds have the owners that they have without
// a user namespace, are written to by whom their modes let, and keep on the node the
// owners that the Pod sees.
func TestUserNamespaceVolumes(t *testing.T) {
	kubectlPath(t)
	r := newRegistry(t, "", "")
	img, err := imagetest.New(imagetest.Options{Layers: imagetest.Gzip, Files: []imagetest.File{{Path: "model/weights", Mode: 0o640, Content: []byte("heavy\n")}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := imagetest.Push(t.Context(), &http.Client{Transport: r}, r.URL, "data", "v1", img); err != nil {
		t.Fatal(err)
	}
	n := newNode(t)
	n.openToAll()
	n.start()
	host := t.TempDir()
	for path, owner := range map[string]int{"": 0, "root": 0, "user": 1000, "beyond": 70000} {
		path = filepath.Join(host, path)
		if path != host {
			if err := os.WriteFile(path, []byte(filepath.Base(path)+"\n"), 0o640); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Chown(path, owner, owner); err != nil {
			t.Fatal(err)
		}
	}
	n.applied(conf("conf", "k: settings") + "---\n" + secret("key", "k: s3cret") + "---\n" + claim("kept", "ReadWriteOnce", ""))
	const group = "securityContext: {fsGroup: 4242}"
	volumes := "volumes: [{name: disk, emptyDir: {}}, {name: memory, emptyDir: {medium: Memory}}, {name: conf, configMap: {name: conf}}, " +
		"{name: key, secret: {secretName: key, defaultMode: 0440}}, {name: down, downwardAPI: {items: [{path: name, fieldRef: {fieldPath: metadata.name}}]}}, " +
		"{name: all, projected: {sources: [{secret: {name: key}}, {serviceAccountToken: {path: token}}]}}, {name: kept, persistentVolumeClaim: {claimName: kept}}, " +
		"{name: host, hostPath: {path: " + host + "}}, {name: file, hostPath: {path: " + host + "/user, type: File}}, " +
		"{name: image, image: {reference: " + quote(r.ref("data", "v1")) + "}}]"
	mounted := "volumeMounts: [{name: disk, mountPath: /disk}, {name: memory, mountPath: /memory}, {name: conf, mountPath: /conf}, {name: key, mountPath: /key}, {name: down, mountPath: /down}, " +
		"{name: all, mountPath: /all}, {name: kept, mountPath: /kept}, {name: host, mountPath: /host}, {name: file, mountPath: /file}, {name: image, mountPath: /image}, " +
		"{name: disk, mountPath: /sub, subPath: made/here}, {name: conf, mountPath: /single, subPath: k}, {name: image, mountPath: /part, subPath: model}, {name: host, mountPath: /ro, readOnly: true, recursiveReadOnly: Enabled}]"
	look := func(end string) string {
		return "for f in /disk /memory /conf/k /key/k /down/name /all/k /all/token /kept /host /host/root /host/user /host/beyond /file /image/model/weights /sub /single /part/weights " +
			"/etc/hosts /etc/hostname /etc/resolv.conf /dev/termination-log /dev/shm; do may=; test -f $f && { (: <$f) 2>/dev/null && may=r; (: >>$f) 2>/dev/null && may=${may}w; }; echo $f $(stat -L -c \"%u %g %a\" $f) $may; done; " +
			"for d in /disk /memory /kept /host /sub /dev/shm /conf /image /ro; do (echo mine >$d/by-$(id -u)) 2>/dev/null && echo $d $(stat -c \"%u %g\" $d/by-$(id -u)); done; " +
			"echo said >/dev/termination-log; cat /conf/k; echo; cat /image/model/weights 2>/dev/null; echo end; " + end
	}
	n.applied(podOf("kinds", ownUsers, group, volumes, "restartPolicy: Never", inits(sh("root", look("true"), mounted)),
		apps(sh("user", look(forever), mounted, "securityContext: {runAsUser: 1000, runAsGroup: 1000}"))))
	pod := n.awaitPod("kinds", "runs", func(p *corev1.Pod) bool { return running(p, "user", 0) })
	for container, want := range map[string]string{
		"root": `/disk 0 4242 2777|/memory 0 4242 2777|/conf/k 0 4242 644 r|/key/k 0 4242 440 r|/down/name 0 4242 644 r|/all/k 0 4242 644 r|/all/token 0 4242 640 r|` +
			`/kept 0 4242 2777|/host 0 0 755|/host/root 0 0 640 rw|/host/user 1000 1000 640 rw|/host/beyond 65534 65534 640|/file 1000 1000 640 rw|/image/model/weights 0 0 640 r|` +
			`/sub 0 4242 2777|/single 0 4242 644 r|/part/weights 0 0 640 r|` +
			`/etc/hosts 0 0 644 rw|/etc/hostname 0 0 644 rw|/etc/resolv.conf 0 0 644 rw|/dev/termination-log 0 0 666 rw|/dev/shm 0 0 1777|` +
			`/disk 0 4242|/memory 0 4242|/kept 0 4242|/host 0 0|/sub 0 4242|/dev/shm 0 0|settings|heavy`,
		"user": `/disk 0 4242 2777|/memory 0 4242 2777|/conf/k 0 4242 644 r|/key/k 0 4242 440 r|/down/name 0 4242 644 r|/all/k 0 4242 644 r|/all/token 0 4242 640 r|` +
			`/kept 0 4242 2777|/host 0 0 755|/host/root 0 0 640|/host/user 1000 1000 640 rw|/host/beyond 65534 65534 640|/file 1000 1000 640 rw|/image/model/weights 0 0 640|` +
			`/sub 0 4242 2777|/single 0 4242 644 r|/part/weights 0 0 640|` +
			`/etc/hosts 0 0 644 r|/etc/hostname 0 0 644 r|/etc/resolv.conf 0 0 644 r|/dev/termination-log 0 0 666 rw|/dev/shm 0 0 1777|` +
			`/disk 1000 4242|/memory 1000 4242|/kept 1000 4242|/sub 1000 4242|/dev/shm 1000 1000|settings`,
	} {
		got := n.said(pod, container)
		for i := range got {
			got[i] = strings.TrimSpace(got[i])
		}
		if got, want := strings.Join(got, "\n"), strings.ReplaceAll(want, "|", "\n"); got != want {
			t.Errorf("%s sees\n%s\nwant\n%s", container, got, want)
		}
	}
	// On the node they belong to the users whose numbers the Pod sees.
	dir := n.path("data/pods", string(pod.UID), "volumes")
	for path, want := range map[string]int{
		dir + "/kubernetes.io~empty-dir/disk/by-0": 0, dir + "/kubernetes.io~empty-dir/disk/by-1000": 1000,
		dir + "/kubernetes.io~empty-dir/memory/by-1000": 1000, host + "/by-0": 0,
	} {
		if got := owner(t, path); got != want {
			t.Errorf("%s belongs to user %d, want %d", path, got, want)
		}
	}
	// What is written later comes through.
	n.applied(conf("conf", "k: changed"))
	n.eventually("the container sees the change", func() bool {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/root/conf/k", n.pids(pod, containerID(&pod, "user"))[0]))
		return err == nil && string(data) == "changed"
	})
	if s := status(&pod, "root"); s.State.Terminated == nil || s.State.Terminated.Message != "said\n" {
		t.Errorf("termination message: %+v", s.State)
	}

	// A file system without ID-mapped mounts.
	n.applied(podOf("proc", ownUsers, "volumes: [{name: v, hostPath: {path: /proc/sys}}]", apps(sh("app", forever, onV))))
	pod = n.awaitPod("proc", "is refused", func(p *corev1.Pod) bool { return waits(p, "app", "CreateContainerConfigError") })
	if m := status(&pod, "app").State.Waiting.Message; !strings.Contains(m, `volumeMounts[0]: volume "v": /proc/sys: proc supports no idmap mounts on this kernel, which hostUsers: false needs`) {
		t.Errorf("message %q", m)
	}
	// Users that the Pod does not have.
	n.applied(podOf("user", ownUsers, "securityContext: {runAsUser: 65536}", apps(sh("app", forever))) + "---\n" +
		podOf("group", ownUsers, "securityContext: {fsGroup: 70000}", diskV, apps(sh("app", forever, onV))))
	for name, want := range map[string]string{"user": "user 65536 is not in the Pod's user namespace", "group": "group 70000 is not in the Pod's user namespace"} {
		pod = n.awaitPod(name, "is refused", func(p *corev1.Pod) bool {
			return waits(p, "app", "CreateContainerError") || waits(p, "app", "CreateContainerConfigError")
		})
		if m := status(&pod, "app").State.Waiting.Message; !strings.Contains(m, want) {
			t.Errorf("%s: message %q", name, m)
		}
	}
}

// TestUserNamespaceRefusals: what Kubernetes' validation refuses with hostUsers: false.
func TestUserNamespaceRefusals(t *testing.T) {
	kubectlPath(t)
	n := startNode(t)
	n.applied(podOf("closed", ownUsers, apps(sh("app", forever))))
	want := "can't set `spec.hostUsers: false`, runtime does not support user namespaces: " + n.dir + " cannot be entered by others: chmod o+x " + n.dir
	if event := n.awaitEvent("closed", "FailedCreatePodSandBox: Failed to generate sandbox config for pod \"closed_default("); !strings.HasSuffix(event, want) {
		t.Errorf("event %q", event)
	}
	n.openToAll()
	n.awaitRunning("closed")
	for fields, want := range map[string]string{
		"hostNetwork: true": "spec.hostNetwork: Forbidden: when `hostUsers` is false",
		"hostPID: true":     "spec.HostPID: Forbidden: when `hostUsers` is false",
		"hostIPC: true":     "spec.HostIPC: Forbidden: when `hostUsers` is false",
	} {
		if out, err := n.tryKubectl(podOf("nope", ownUsers, fields, apps(sh("app", forever))), "create", "-f", "-"); err == nil || !strings.Contains(out, want) {
			t.Errorf("%s: %v %s", fields, err, out)
		}
	}
	unmasked := "securityContext: {procMount: Unmasked}"
	if out, err := n.tryKubectl(podOf("nope", apps(sh("app", forever, unmasked))), "create", "-f", "-"); err == nil || !strings.Contains(out, "`hostUsers` must be false to use `Unmasked`") {
		t.Errorf("procMount: %v %s", err, out)
	}
	handlers := n.nodeObject().Status.RuntimeHandlers
	if !slices.ContainsFunc(handlers, func(h corev1.NodeRuntimeHandler) bool {
		return h.Features.UserNamespaces != nil && *h.Features.UserNamespaces
	}) {
		t.Errorf("the node's handlers: %+v", handlers)
	}
}
