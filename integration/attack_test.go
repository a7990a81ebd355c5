// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// TestHostPathBecomesALink: a container puts a link at the place of a hostPath volume
// that was checked before; its next attempt would have the target mounted.
func TestHostPathBecomesALink(t *testing.T) {
	host := t.TempDir()
	open, hidden := filepath.Join(host, "open"), filepath.Join(host, "hidden")
	for _, dir := range []string{open, hidden} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(hidden, "f"), []byte("secret\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	n := startNode(t, "--allowed-host-paths", open)
	volume := func(name, path string) string {
		return "{name: " + name + ", hostPath: {path: " + path + ", type: DirectoryOrCreate}}"
	}
	n.apply("link.yaml", podOf("swaps",
		"volumes: ["+volume("all", open)+", "+volume("data", open+"/data")+"]",
		apps(sh("app", "cat /data/f; cd /all; rmdir data && ln -s "+hidden+" data; exit 1", "volumeMounts: [{name: all, mountPath: /all}, {name: data, mountPath: /data}]")))+
		"---\n"+podOf("outside", "volumes: ["+volume("v", hidden)+"]", apps(sh("app", forever, onV))))
	pod := n.awaitPod("swaps", "the second attempt is refused", func(p *corev1.Pod) bool { return waits(p, "app", "CreateContainerError") })
	if message := status(&pod, "app").State.Waiting.Message; !strings.Contains(message, open+"/data leads through a symbolic link since it was checked") {
		t.Errorf("message %q", message)
	}
	logs, err := filepath.Glob(n.path("log", "*", "app", "*.log"))
	if err != nil || len(logs) == 0 {
		t.Errorf("no logs: %v", err)
	}
	for _, log := range logs {
		if data, err := os.ReadFile(log); err != nil || strings.Contains(string(data), "secret") {
			t.Errorf("%s: %q, %v", log, data, err)
		}
	}
	if event := n.awaitEvent("outside", "FailedMount: "); !strings.Contains(event, hidden+" is not below a path that this node allows: "+open) {
		t.Errorf("event %q", event)
	}
}

// TestAdoptedContainersAreVerified: a container that was made before the agent died, and
// has something else mounted than what the next agent has checked, is not started.
func TestAdoptedContainersAreVerified(t *testing.T) {
	n := startNode(t)
	host := t.TempDir()
	before, after := filepath.Join(host, "data"), filepath.Join(host, "other")
	for _, dir := range []string{before, after} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "f"), []byte(filepath.Base(dir)+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	n.apply("made.yaml", podOf("made", "restartPolicy: Never",
		"volumes: [{name: v, hostPath: {path: "+before+"}}, {name: go, hostPath: {path: "+host+"}}]",
		inits(sh("init", "until test -e /go/go; do sleep 0.1; done", "volumeMounts: [{name: go, mountPath: /go}]")),
		apps(sh("app", "cat /v/f; echo end", onV))))
	made := regexp.MustCompile(`"msg":"create container".*"container":"app"`)
	n.eventually("the app is made ahead of its turn", func() bool {
		data, err := os.ReadFile(n.path("daemon.log"))
		return err == nil && made.Match(data)
	})
	n.kill()
	if err := os.Rename(before, before+"-was"); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(after, before); err != nil {
		t.Fatal(err)
	}
	n.start()
	n.awaitEvent("made", "Failed: Error: volumeMounts[0]: "+before+" was replaced while the container was made")
	if err := os.WriteFile(filepath.Join(host, "go"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if got := n.said(n.awaitPhase("made", corev1.PodSucceeded), "app"); !slices.Equal(got, []string{"other"}) {
		t.Errorf("the app reads %q", got)
	}
}

// TestNoNewPrivileges: a program with the setuid bit makes a user root, unless
// allowPrivilegeEscalation is false.
func TestNoNewPrivileges(t *testing.T) {
	n := startNode(t)
	const script = "/v/su -c \"id -u\" 2>&1 | grep -c -x 0; echo end"
	const mounts = "volumeMounts: [{name: v, mountPath: /v}, {name: v, mountPath: /etc/passwd, subPath: passwd}]"
	n.apply("setuid.yaml", podOf("setuid", "restartPolicy: Never", "securityContext: {runAsUser: 1000}", diskV,
		inits(sh("make", "cp $(which busybox) /v/su; chmod 4755 /v/su; echo root::0:0::/:/bin/sh >/v/passwd", onV, "securityContext: {runAsUser: 0}")),
		apps(sh("may", script, mounts), sh("maynot", script, mounts, "securityContext: {allowPrivilegeEscalation: false}"))))
	pod := n.awaitPhase("setuid", corev1.PodSucceeded)
	for container, want := range map[string]string{"may": "1", "maynot": "0"} {
		if got := n.said(pod, container); !slices.Equal(got, []string{want}) {
			t.Errorf("%s says %q, want %s", container, got, want)
		}
	}
}

// TestReadOnlyMounts: a volume that is mounted read-only at one place and writable at
// another cannot be written to at the first, whatever way leads there.
func TestReadOnlyMounts(t *testing.T) {
	n := startNode(t)
	host := t.TempDir()
	script := "for p in /r/x /w/to-r/x /proc/self/root/r/x /proc/1/root/r/x /r/../r/x /r/sub/x /deep/in/x; do (echo 1 >$p) 2>/dev/null && echo $p; done; " +
		"mount -o remount,rw /r 2>/dev/null && echo remounted; echo 1 >/w/ok && cat /r/ok; echo end"
	n.apply("ro.yaml", podOf("ro", "restartPolicy: Never",
		"volumes: [{name: v, emptyDir: {}}, {name: h, hostPath: {path: "+host+"}}]",
		inits(sh("make", "ln -s /r /v/to-r; mkdir /v/sub; mkdir /h/in", "volumeMounts: [{name: v, mountPath: /v}, {name: h, mountPath: /h}]")),
		apps(sh("app", script, "volumeMounts: [{name: v, mountPath: /r, readOnly: true, recursiveReadOnly: IfPossible}, {name: v, mountPath: /w}, {name: h, mountPath: /deep, readOnly: true}, {name: v, mountPath: /deep/in, readOnly: true}]"))))
	if got := n.said(n.awaitPhase("ro", corev1.PodSucceeded), "app"); !slices.Equal(got, []string{"1"}) {
		t.Errorf("written, or not readable: %q", got)
	}
}

// TestSecretsStayWithTheirPod: neither a volume of the same name nor the host's
// directories show a Pod's secret to another one.
func TestSecretsStayWithTheirPod(t *testing.T) {
	n := startNode(t)
	secret := "apiVersion: v1\nkind: Secret\nmetadata: {name: key}\nstringData: {k: s3cret}\n---\n"
	const volume = "volumes: [{name: v, secret: {secretName: key}}]"
	n.apply("owner.yaml", secret+podOf("owner", volume, apps(sh("app", "cat /v/k; echo; "+forever, onV))))
	owner := n.awaitRunning("owner")
	n.awaitLine(owner, "app", 0, "s3cret")
	n.apply("other.yaml", podOf("other", "restartPolicy: Never",
		"volumes: [{name: v, emptyDir: {}}, {name: data, hostPath: {path: "+n.path("data")+"}}, {name: run, hostPath: {path: "+n.path("run")+"}}]",
		apps(sh("app", "ls /v; grep -r s3cret /data /run 2>/dev/null; cat /data/pods/"+string(owner.UID)+"/volumes/*/v/k 2>/dev/null | grep s3cret; echo end",
			"volumeMounts: [{name: v, mountPath: /v}, {name: data, mountPath: /data}, {name: run, mountPath: /run}]", "securityContext: {runAsUser: 1000}"))))
	if got := n.said(n.awaitPhase("other", corev1.PodSucceeded), "app"); len(got) != 0 {
		t.Errorf("the other Pod finds %q", got)
	}
}

// TestFilesOfTheNodeCount: what containers write to the files that the node gives them
// counts as theirs (CVE-2020-8557), and no more of it is reported than may be.
func TestFilesOfTheNodeCount(t *testing.T) {
	n := startNode(t, "--log-max-size", "64Ki", "--log-max-files", "2")
	const limit = "resources: {limits: {ephemeral-storage: 1Mi}}"
	const fill = "dd if=/dev/zero bs=64k count=48 2>/dev/null | tr \"\\\\0\" x"
	n.apply("fill.yaml", podOf("hosts", apps(sh("app", fill+" >>/etc/hosts; "+forever, limit)))+
		"---\n"+podOf("message", apps(sh("app", fill+" >/dev/termination-log; "+forever, limit)))+
		"---\n"+podOf("log", "restartPolicy: Never", apps(sh("app", fill+" | tr x \"x\\\\n\" | fold -w 1000; echo end", limit)))+
		"---\n"+podOf("long", "restartPolicy: Never", apps(sh("app", fill+" >/dev/termination-log"))))
	for name, want := range map[string]string{
		"hosts":   `Pod ephemeral local storage usage exceeds the total limit of containers 1Mi. `,
		"message": `Pod ephemeral local storage usage exceeds the total limit of containers 1Mi. `,
	} {
		if pod := n.awaitPhase(name, corev1.PodFailed); pod.Status.Reason != "Evicted" || pod.Status.Message != want {
			t.Errorf("%s: %s: %q", name, pod.Status.Reason, pod.Status.Message)
		}
	}
	pod := n.awaitPhase("long", corev1.PodSucceeded)
	if got := len(ended(&pod, "app").Message); got != 4096 {
		t.Errorf("a message of %d bytes", got)
	}
	pod = n.awaitPhase("log", corev1.PodSucceeded)
	logs, err := filepath.Glob(n.path("log", "*_log-"+nodeName+"_*", "app", "*"))
	if err != nil {
		t.Fatal(err)
	}
	var size int64
	for _, log := range logs {
		if info, err := os.Stat(log); err == nil {
			size += info.Size()
		}
	}
	if size == 0 || size > 192<<10 {
		t.Errorf("logs of %s take %d bytes: %v", pod.Name, size, logs)
	}
}
