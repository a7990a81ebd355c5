// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"
	"testing"
)

// TestKubectlEveryday: what people type without a thought, on objects that need no
// container.
func TestKubectlEveryday(t *testing.T) {
	kubectlPath(t)
	n := newNode(t)
	n.start()
	run := func(stdin, want string, args ...string) {
		t.Helper()
		if out, err := n.tryKubectl(stdin, args...); err != nil || !strings.Contains(out, want) {
			t.Errorf("kubectl %s: %v, not %q:\n%s", strings.Join(args, " "), err, want, out)
		}
	}
	n.expect(`^Kubernetes control plane is running at https://127\.0\.0\.1:\d+`, "--request-timeout=20s", "cluster-info")
	n.expect(`Username minikubelet-admin Groups \[system:masters system:authenticated\]`, "auth", "whoami")
	n.expect(`^yes\n$`, "auth", "can-i", "create", "pods")
	n.expect(`Resources Non-Resource URLs Resource Names Verbs`, "auth", "can-i", "--list")
	if out, err := n.tryKubectl("", "auth", "can-i", "get", "secrets", "--as=system:serviceaccount:default:default"); err == nil || !strings.HasPrefix(out, "no") {
		t.Errorf("can-i of a ServiceAccount: %v %s", err, out)
	}
	n.expect(`^[\w-]+\.[\w-]+\.[\w-]+\n?$`, "create", "token", "default", "--duration=1h")

	const config = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {k: '1'}\n"
	typo := strings.Replace(config, "\ndata:", "\ndato:", 1)
	run(typo, "created", "create", "--validate=ignore", "-f", "-")
	run(config, "configmap/c replaced", "replace", "-f", "-")
	run(config, "configmap/c replaced", "replace", "--force", "-f", "-")
	run(typo, `Warning: unknown field "dato"`, "replace", "--validate=warn", "-f", "-")
	if out, err := n.tryKubectl(typo, "replace", "--validate=strict", "-f", "-"); err == nil || !strings.Contains(out, `unknown field "dato"`) {
		t.Errorf("replace --validate=strict: %v %s", err, out)
	}
	run(config, "configmap/c replaced", "replace", "-f", "-")
	run("", "patched", "patch", "cm", "c", "--type=strategic", "-p", `{"data":{"l":"2"}}`)
	run("", "patched", "patch", "cm", "c", "--type=json", "-p", `[{"op":"remove","path":"/data/l"}]`)
	edited := n.kubectlCommand("edit", "cm", "c")
	edited.Env = append(edited.Environ(), `KUBE_EDITOR=sed -i 's/k: "1"/k: edited/'`)
	if out, err := edited.CombinedOutput(); err != nil || string(out) != "configmap/c edited\n" {
		t.Errorf("edit: %v %s", err, out)
	}
	n.expect(`^edited$`, "get", "cm", "c", "-o", "jsonpath={.data.k}")

	for _, name := range []string{"s3", "s1", "s2"} {
		n.kubectl("create", "configmap", name)
		n.kubectl("label", "cm", name, "many=yes", "number="+name[1:])
	}
	n.expect(`^s1 .*\ns2 .*\ns3 .*\n$`, "get", "cm", "-l", "many=yes", "--no-headers", "--chunk-size=1")
	n.expect(`^s1 .*\ns2 .*\ns3 .*\n$`, "get", "cm", "-l", "many=yes", "--no-headers", "--sort-by=.metadata.labels.number")
	n.expect(`^s3 .* 3\n$`, "get", "cm", "-l", "number in (3)", "-L", "number", "--no-headers")

	n.kubectl("create", "configmap", "owner")
	uid := n.kubectl("get", "cm", "owner", "-o", "jsonpath={.metadata.uid}")
	const owned = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: NAME, ownerReferences: [{apiVersion: v1, kind: ConfigMap, name: owner, uid: UID}]}\n"
	run(strings.NewReplacer("NAME", "orphan", "UID", uid).Replace(owned), "created", "create", "-f", "-")
	n.kubectl("delete", "cm", "owner", "--cascade=orphan")
	n.expect(`^orphan  $`, "get", "cm", "orphan", "-o", "jsonpath={.metadata.name} {.metadata.ownerReferences} ")
	n.kubectl("create", "configmap", "owner")
	uid = n.kubectl("get", "cm", "owner", "-o", "jsonpath={.metadata.uid}")
	run(strings.NewReplacer("NAME", "child", "UID", uid).Replace(owned), "created", "create", "-f", "-")
	n.kubectl("delete", "cm", "owner", "--cascade=foreground")
	n.expect(``, "wait", "--for=delete", "cm/child", "--timeout=60s")
}

// TestKubectlStages: kubectl get -w shows a Pod's way through its init containers, and
// how often its container was started again.
func TestKubectlStages(t *testing.T) {
	kubectlPath(t)
	n := newNode(t)
	n.start()
	watch := n.kubectlCommand("get", "pods", "-w", "--no-headers")
	shown := &screen{buffer: new(bytes.Buffer)}
	watch.Stdout, watch.Stderr = shown, shown
	if err := watch.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = watch.Process.Kill()
		_ = watch.Wait()
	}()
	const volume = "volumeMounts: [{name: v, mountPath: /v}]"
	waits := func(name string) string { return sh(name, "until test -e /v/"+name+"; do sleep 0.1; done", volume) }
	n.must(podOf("stages", inits(waits("i1"), waits("i2")), apps(sh("app", "test -e /v/again && "+forever+"; touch /v/again; exit 3", volume)), "volumes: [{name: v, emptyDir: {}}]"))
	n.must(podOf("broken", inits(sh("i1", "exit 1")), apps(sh("app", forever))))
	for i, want := range []string{"Init:0/2", "Init:1/2"} {
		n.eventually(want, func() bool {
			return regexp.MustCompile(`stages +0/1 +` + want + ` +0 `).MatchString(n.kubectl("get", "pods", "--no-headers"))
		})
		container := fmt.Sprintf("i%d", i+1)
		n.kubectl("exec", "stages", "-c", container, "--", "touch", "/v/"+container)
	}
	n.eventually("the second attempt, and when the first ended", func() bool {
		return regexp.MustCompile(`stages +1/1 +Running +1 \(\d+s ago\) `).MatchString(n.kubectl("get", "pods", "--no-headers"))
	})
	n.eventually("the init container that fails", func() bool {
		return regexp.MustCompile(`broken +0/1 +Init:CrashLoopBackOff +[1-9]`).MatchString(n.kubectl("get", "pods", "--no-headers"))
	})
	for _, want := range []string{"Init:0/2", "Init:1/2", "PodInitializing", "Running", "Error", "Init:Error", "Init:CrashLoopBackOff"} {
		if shown.await(want); !shown.shows(want) {
			t.Errorf("get -w has not shown %s:\n%s", want, shown.buffer.String())
		}
	}
	n.expect(`(?s)Init Containers: i1: .*State: Waiting Reason: CrashLoopBackOff .*Containers: app: `, "describe", "pod", "broken")
}
