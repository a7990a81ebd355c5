// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"os"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// applied gives a manifest to kubectl.
func (n *node) applied(manifest string) {
	n.t.Helper()
	if out, err := n.tryKubectl(manifest, "apply", "-f", "-"); err != nil {
		n.t.Fatalf("kubectl apply: %v\n%s", err, out)
	}
}

// told waits for an event of a Pod that was made over the API.
func (n *node) told(pod, what string) {
	n.t.Helper()
	n.eventually(pod+" is told "+what, func() bool {
		var list corev1.EventList
		if n.get("/api/v1/events", &list) != nil {
			return false
		}
		return slices.ContainsFunc(list.Items, func(e corev1.Event) bool {
			return e.InvolvedObject.Name == pod && e.Reason+": "+e.Message == what
		})
	})
}

// saysLine waits for a line in a container's log.
func (n *node) saysLine(pod corev1.Pod, container string, attempt int, line string) {
	n.t.Helper()
	n.eventually(container+" says "+line, func() bool {
		path := n.path("log", pod.Namespace+"_"+pod.Name+"_"+string(pod.UID), container, string(rune('0'+attempt))+".log")
		data, _ := os.ReadFile(path)
		return strings.Contains(string(data), " F "+line+"\n")
	}, func() string { return strings.Join(n.log(pod, container, attempt), "\n") })
}

func conf(name, data string) string {
	return "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: " + name + "}\ndata: {" + data + "}\n"
}

func secret(name, data string) string {
	return "apiVersion: v1\nkind: Secret\nmetadata: {name: " + name + "}\nstringData: {" + data + "}\n"
}

// shown are volumes of every type whose files the agent writes.
const shown = `volumes:
  - {name: c, configMap: {name: conf, items: [{key: k, path: sub/k}, {key: more, path: more, mode: 0400}]}}
  - {name: s, secret: {secretName: hidden, defaultMode: 0440}}
  - {name: d, downwardAPI: {items: [{path: labels, fieldRef: {fieldPath: metadata.labels}}, {path: cpu, resourceFieldRef: {containerName: a, resource: limits.cpu, divisor: 1m}}]}}
  - {name: p, projected: {sources: [{configMap: {name: conf}}, {secret: {name: hidden, items: [{key: key, path: secret/key}]}}, {configMap: {name: nothing, optional: true}}]}}
  - {name: e, emptyDir: {}}`

const shownAt = "volumeMounts: [{name: c, mountPath: /c}, {name: s, mountPath: /s}, {name: d, mountPath: /d}, {name: p, mountPath: /p}, {name: e, mountPath: /p/below}, {name: c, mountPath: /one, subPath: sub/k}]"

// TestProjectedVolumes: a Pod waits for its objects, two containers read them, see
// them change, and go on doing so when a container or the agent was restarted.
func TestProjectedVolumes(t *testing.T) {
	kubectlPath(t)
	n := startNode(t)
	look := "cat /c/sub/k /s/key /d/labels /d/cpu /p/k /p/secret/key /one; " +
		"for f in /c/more /s/key /p/secret/key; do stat -Lc '%a' $f; done; " +
		"for f in /c/sub/k /s/new /p/k /one; do (echo no >$f) 2>&1 | grep -o 'Read-only file system'; done; echo yes >/p/below/f && echo nested; " +
		"grep ' /s tmpfs ' /proc/mounts >/dev/null && grep ' /p tmpfs ' /proc/mounts >/dev/null && echo memory; echo looked; "
	follow := "until grep -q two /c/sub/k && grep -q two /p/k; do sleep 0.1; done; cat /one; echo saw two; " +
		"until grep -q stage=.b /d/labels; do sleep 0.1; done; echo saw label; until test -e /s/third; do sleep 0.1; done; echo saw third; "
	n.applied(strings.Replace(podOf("reader", "restartPolicy: Always",
		apps(sh("a", look+follow+forever, shownAt, "resources: {limits: {cpu: 500m}}"), sh("b", look+"until grep -q two /c/sub/k; do sleep 0.1; done; exit 1", shownAt)), shown),
		"{name: reader}", "{name: reader, labels: {stage: a}}", 1))

	n.told("reader", `FailedMount: MountVolume.SetUp failed for volume "c" : configmap "conf" not found`)
	n.told("reader", `FailedMount: MountVolume.SetUp failed for volume "s" : secret "hidden" not found`)
	n.told("reader", `FailedMount: MountVolume.SetUp failed for volume "p" : [configmap "conf" not found, secret "hidden" not found]`)
	n.awaitPod("reader", "waits", func(p *corev1.Pod) bool {
		return p.Status.Phase == corev1.PodPending && waits(p, "a", "ContainerCreating")
	})
	n.applied(conf("conf", "k: one"))
	n.told("reader", `FailedMount: MountVolume.SetUp failed for volume "c" : configmap references non-existent config key: more`)
	n.applied(conf("conf", "k: one, more: m"))
	n.applied(secret("hidden", "key: sesame"))

	pod := n.awaitPod("reader", "runs", func(p *corev1.Pod) bool { return running(p, "a", 0) })
	for _, c := range []string{"a", "b"} {
		n.saysLine(pod, c, 0, "looked")
		want := []string{`onesesamestage="a"500onesesameone400`, "440", "644"}
		want = append(want, slices.Repeat([]string{"Read-only file system"}, 4)...)
		want = append(want, "nested", "memory", "looked")
		if got := n.log(pod, c, 0); !slices.Equal(got[:min(len(got), len(want))], want) {
			t.Errorf("%s: %q, want %q", c, got, want)
		}
	}

	n.applied(conf("conf", "k: two, more: m"))
	n.saysLine(pod, "a", 0, "onesaw two") // the sub-path stays as it was
	n.awaitPod("reader", "b is restarted", func(p *corev1.Pod) bool { return running(p, "b", 1) || waits(p, "b", "CrashLoopBackOff") })
	n.saysLine(pod, "b", 1, `twosesamestage="a"500twosesametwo400`)

	n.kill()
	n.start()
	n.kubectl("label", "pod", "reader", "stage=b", "--overwrite")
	n.saysLine(pod, "a", 0, "saw label")
	n.kubectl("delete", "configmap", "conf")
	n.told("reader", `FailedMount: MountVolume.SetUp failed for volume "c" : configmap "conf" not found`)
	n.kill()
	n.start()
	n.applied(secret("hidden", "key: sesame, third: x"))
	n.saysLine(pod, "a", 0, "saw third")
	if p := n.pods()["reader"]; status(&p, "a").RestartCount != 0 {
		t.Errorf("a container was restarted for its volumes: %+v", status(&p, "a"))
	}
	n.kubectl("delete", "pod", "reader")
	n.awaitGone("reader")
}

// TestEnvironmentFromObjects: a container waits for what its variables come from, and
// an init container may write it.
func TestEnvironmentFromObjects(t *testing.T) {
	kubectlPath(t)
	n := startNode(t)
	n.applied(podOf("reader", "restartPolicy: Never", diskV,
		inits(sh("init", `echo "FROM_FILE='a b'" >/v/env; echo ran`, onV)),
		apps(sh("app", `echo "$FROM_MAP|$P_x|$FROM_SECRET|$FROM_FILE|$ALL|${UNSET-unset}"`,
			"envFrom: [{prefix: P_, configMapRef: {name: conf}}]",
			"env: [{name: FROM_MAP, valueFrom: {configMapKeyRef: {name: conf, key: x}}}, {name: FROM_SECRET, valueFrom: {secretKeyRef: {name: hidden, key: y1}}}, "+
				"{name: FROM_FILE, valueFrom: {fileKeyRef: {volumeName: v, path: env, key: FROM_FILE}}}, {name: ALL, value: '$(FROM_MAP)$(P_x)$$(FROM_MAP)'}, "+
				"{name: UNSET, valueFrom: {secretKeyRef: {name: hidden, key: none, optional: true}}}]"))))
	missing := func(message string) {
		t.Helper()
		n.awaitPod("reader", message, func(p *corev1.Pod) bool {
			return waits(p, "app", "CreateContainerConfigError") && status(p, "app").State.Waiting.Message == message
		})
		n.told("reader", "Failed: Error: "+message)
	}
	missing(`configmap "conf" not found`)
	n.applied(conf("conf", "x: old"))
	missing(`secret "hidden" not found`)
	n.applied(secret("hidden", "other: z"))
	missing(`couldn't find key y1 in Secret default/hidden`)
	n.applied(conf("conf", "x: new"))
	n.applied(secret("hidden", "y1: sesame"))
	pod := n.awaitPhase("reader", corev1.PodSucceeded)
	if got, want := n.log(pod, "app", 0), []string{"new|new|sesame|a b|newnew$(FROM_MAP)|unset"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	for _, e := range n.events("reader") {
		if strings.Contains(e, "sesame") {
			t.Errorf("an event tells a secret: %s", e)
		}
	}
	if data, _ := os.ReadFile(n.path("daemon.log")); strings.Contains(string(data), "sesame") {
		t.Error("the log tells a secret")
	}
	n.kubectl("delete", "pod", "reader")
}
