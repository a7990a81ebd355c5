// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"net"
	"os"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// TestEmptyDirs belong to one Pod, whatever their names, hold what they may, and go
// with it.
func TestEmptyDirs(t *testing.T) {
	n := startNode(t)
	n.apply("owner.yaml", podOf("owner", apps(sh("app", "echo mine >/v/secret; touch /v/ready; ls /v; echo end; "+forever, onV)), diskV))
	owner := n.awaitRunning("owner")
	n.said(owner, "app")
	n.apply("other.yaml", podOf("other", "restartPolicy: Never", apps(sh("app", "ls -A /v; echo end", onV)), diskV))
	n.apply("memory.yaml", podOf("memory", "restartPolicy: Never",
		apps(sh("app", strings.Join([]string{
			"dd if=/dev/zero of=/v/fits bs=64k count=8 2>/dev/null && echo fits",
			"dd if=/dev/zero of=/v/large bs=64k count=32 2>&1 | grep -o 'No space left on device'",
			"grep ' /v tmpfs ' /proc/mounts | grep -o 'size=[0-9]*k'",
			"echo end"}, "; "), onV, "resources: {limits: {memory: 64Mi}}")),
		"volumes: [{name: v, emptyDir: {medium: Memory, sizeLimit: 1Mi}}]"))
	n.apply("readonly.yaml", podOf("readonly", "restartPolicy: Never", diskV,
		inits(sh("init", "echo given >/v/file", onV)),
		apps(sh("app", "cat /v/file; echo no 2>&1 >/v/file | grep -o 'Read-only file system'; touch /v/new 2>&1 | grep -o 'Read-only file system'; echo end",
			"volumeMounts: [{name: v, mountPath: /v, readOnly: true}]"))))

	if got := n.said(n.awaitPhase("other", corev1.PodSucceeded), "app"); len(got) > 0 {
		t.Errorf("a Pod sees another one's volume of the same name: %q", got)
	}
	if got, want := n.said(n.awaitPhase("memory", corev1.PodSucceeded), "app"), []string{"fits", "No space left on device", "size=1024k"}; !slices.Equal(got, want) {
		t.Errorf("tmpfs of 1Mi: %q, want %q", got, want)
	}
	got := n.said(n.awaitPhase("readonly", corev1.PodSucceeded), "app")
	if want := []string{"given", "Read-only file system"}; len(got) < 2 || got[0] != want[0] || got[len(got)-1] != want[1] {
		t.Errorf("read-only: %q, want %q", got, want)
	}

	dir := n.path("data/pods", string(owner.UID))
	if _, err := os.Stat(dir); err != nil {
		t.Fatalf("the directory of a running Pod: %v", err)
	}
	n.remove("owner.yaml")
	n.awaitGone("owner")
	if _, err := os.Stat(dir); err == nil {
		t.Errorf("%s is still there after the Pod's end", dir)
	}
}

// TestHostPaths checks the types of hostPath: those that fit are mounted, one that
// does not keeps its Pod waiting with an event that names the path, until the
// host's owner puts things right.
func TestHostPaths(t *testing.T) {
	n := startNode(t)
	host := t.TempDir()
	for _, d := range []string{"dir", "sub"} {
		if err := os.Mkdir(host+"/"+d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	write := func(name, text string) {
		if err := os.WriteFile(host+"/"+name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("file", "from the host\n")
	write("dir/inside", "x")
	socket, err := net.Listen("unix", host+"/s")
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()

	volume := func(name, path, kind string) string {
		return "{name: " + name + ", hostPath: {path: " + path + ", type: " + quote(kind) + "}}"
	}
	n.apply("fits.yaml", podOf("fits", "restartPolicy: Never",
		apps(sh("app", "cat /file; ls /dir; echo written >/made/f; echo written >/madefile; test -S /s && echo socket; test -c /null && echo device; "+
			"cat /plain; echo no 2>&1 >/ro/f | grep -o 'Read-only file system'; echo end",
			"volumeMounts: [{name: file, mountPath: /file}, {name: dir, mountPath: /dir}, {name: made, mountPath: /made}, {name: madefile, mountPath: /madefile},"+
				" {name: s, mountPath: /s}, {name: dev, mountPath: /null}, {name: plain, mountPath: /plain}, {name: dir, mountPath: /ro, readOnly: true}]")),
		"volumes: ["+strings.Join([]string{
			volume("file", host+"/file", "File"), volume("dir", host+"/dir", "Directory"), volume("made", host+"/a/b", "DirectoryOrCreate"),
			volume("madefile", host+"/c", "FileOrCreate"), volume("s", host+"/s", "Socket"), volume("dev", "/dev/null", "CharDevice"),
			volume("plain", host+"/file", ""),
		}, ", ")+"]"))
	n.apply("wrong.yaml", podOf("wrong", inits(sh("init", "echo init >>/v/trace", onV)), apps(sh("app", forever, onV)),
		"volumes: ["+volume("v", host+"/wrong", "Directory")+"]"))
	n.apply("absent.yaml", podOf("absent", apps(sh("app", forever, onV)), "volumes: ["+volume("v", host+"/absent", "File")+"]"))
	write("wrong", "a file where a directory is wanted")

	fits := n.awaitPhase("fits", corev1.PodSucceeded)
	if got, want := n.said(fits, "app"), []string{"from the host", "inside", "socket", "device", "from the host", "Read-only file system"}; !slices.Equal(got, want) {
		t.Errorf("the containers see %q, want %q", got, want)
	}
	for _, path := range []string{"/a/b/f", "/c"} {
		if data, err := os.ReadFile(host + path); err != nil || string(data) != "written\n" {
			t.Errorf("%s on the host: %q, %v", path, data, err)
		}
	}

	for name, what := range map[string]string{"wrong": "directory", "absent": "file"} {
		event := n.awaitEvent(name, "FailedMount: ")
		if !strings.Contains(event, host+"/"+name) || !strings.Contains(event, what) {
			t.Errorf("event %q names not %s or what it is not: a %s", event, host+"/"+name, what)
		}
		pod := n.pods()[name]
		reason := map[string]string{"wrong": "PodInitializing", "absent": "ContainerCreating"}[name]
		if pod.Status.Phase != corev1.PodPending || !waits(&pod, "app", reason) {
			t.Errorf("%s: phase %s, status %+v", name, pod.Status.Phase, status(&pod, "app"))
		}
	}
	if err := os.Remove(host + "/wrong"); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(host+"/wrong", 0o755); err != nil {
		t.Fatal(err)
	}
	write("absent", "here it is")
	wrong, absent := n.awaitRunning("wrong"), n.awaitRunning("absent")
	if data, err := os.ReadFile(host + "/wrong/trace"); err != nil || string(data) != "init\n" {
		t.Errorf("the init container ran %q, %v; want once", data, err)
	}
	if status(&wrong, "app").RestartCount != 0 || status(&absent, "app").RestartCount != 0 {
		t.Error("waiting for a volume counted as a restart")
	}
	n.remove("fits.yaml")
	n.awaitGone("fits")
	if _, err := os.Stat(host + "/a/b/f"); err != nil {
		t.Errorf("what is on the host went with the Pod: %v", err)
	}
}
