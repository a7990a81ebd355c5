// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"os"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// TestHooks: a container runs only when its postStart hook is over, and the preStop
// hook comes before the stop signal. An agent that is replaced in the middle of a
// postStart hook runs it again.
func TestHooks(t *testing.T) {
	n := startNode(t)
	dir := t.TempDir()
	n.apply("hooks.yaml", podHead("hooks")+`
  terminationGracePeriodSeconds: 30
  containers:
`+probed("app", `trap "echo term >>/v/log; exit 0" TERM; while :; do sleep 0.1; done`, "lifecycle: {"+
		"postStart: {exec: {command: [sh, -c, 'echo begin >>/v/log; until [ -e /v/go ]; do sleep 0.1; done; echo end >>/v/log']}}, "+
		"preStop: {exec: {command: [sh, -c, 'echo stop >>/v/log; sleep 1; echo stopped >>/v/log']}}}, "+
		"readinessProbe: {periodSeconds: 1, exec: {command: [sh, -c, 'echo probed >>/v/probes']}}")+`
  volumes: [{name: v, hostPath: {path: `+dir+`}}]
`)
	begun := func(times int) func() bool {
		return func() bool {
			data, _ := os.ReadFile(dir + "/log")
			return strings.Count(string(data), "begin") == times
		}
	}
	n.eventually("the hook runs", begun(1))
	if pod := n.pods()["hooks"]; status(&pod, "app").State.Waiting == nil || exists(dir+"/probes") {
		t.Errorf("the container counts as running in the middle of its hook: %+v", pod.Status)
	}
	n.kill()
	n.start()
	n.eventually("the hook runs again", begun(2))
	touch(t, dir+"/go")
	n.awaitPod("hooks", "ready", podReady)
	n.kill()
	n.start()
	n.remove("hooks.yaml")
	n.awaitGone("hooks")
	data, err := os.ReadFile(dir + "/log")
	if err != nil {
		t.Fatal(err)
	}
	log := strings.ReplaceAll(strings.TrimSpace(string(data)), "\n", " ")
	if log != "begin begin end end stop stopped term" && log != "begin begin end stop stopped term" {
		t.Errorf("%q", log)
	}
}

// TestHooksOfOtherKinds: sleep delays the end, HTTP hooks reach the container, and a
// hook that fails ends its container (postStart) or is only told of (preStop).
func TestHooksOfOtherKinds(t *testing.T) {
	n := startNode(t)
	dir := t.TempDir()
	n.apply("kinds.yaml", podHead("kinds")+`
  terminationGracePeriodSeconds: 5
  containers:
`+probed("sleeper", `trap "exit 0" TERM; while :; do date +%s.%N >/v/sleeper; sleep 0.1; done`, "lifecycle: {preStop: {sleep: {seconds: 2}}}")+
		probed("web", `trap "exit 0" TERM; mkdir -p /v/cgi-bin; printf "#!/bin/sh\necho hook >/v/called; echo; echo ok\n" >/v/cgi-bin/hook; chmod 755 /v/cgi-bin/hook; httpd -p 8080 -h /v; while :; do sleep 0.1; done`,
			"lifecycle: {preStop: {httpGet: {path: /cgi-bin/hook, port: 8080}}}")+
		probed("broken", `trap "exit 0" TERM; echo x >>/v/broken; while :; do sleep 0.1; done`, "lifecycle: {postStart: {exec: {command: ['false']}}, preStop: {exec: {command: [/nowhere]}}}")+`
  volumes: [{name: v, hostPath: {path: `+dir+`}}]
`)
	pod := n.awaitPod("kinds", "the one whose hook fails was restarted", func(p *corev1.Pod) bool {
		b, s := status(p, "broken"), status(p, "sleeper")
		return b != nil && b.RestartCount > 0 && s.State.Running != nil && exists(dir+"/cgi-bin/hook")
	})
	if c := status(&pod, "broken"); c.Ready || c.State.Running != nil {
		t.Errorf("a container whose postStart hook fails: %+v", c)
	}
	n.remove("kinds.yaml")
	n.awaitGone("kinds")
	if !exists(dir + "/called") {
		t.Error("the HTTP hook did not reach the container")
	}
	events := n.events("kinds")
	for _, want := range []string{
		"FailedPostStartHook: PostStartHook failed", "FailedPreStopHook: PreStopHook failed", "Killing: FailedPostStartHook",
		"Killing: Stopping container sleeper",
	} {
		if !slices.Contains(events, want) {
			t.Errorf("no event %q in %q", want, events)
		}
	}
}

// TestHooksThatAreCutOff: the end of its container is a hook's failure, and why a
// postStart hook failed stands in the status.
func TestHooksThatAreCutOff(t *testing.T) {
	n := startNode(t)
	const stubborn = `trap "" TERM; while :; do sleep 0.1; done`
	n.apply("cut.yaml", podHead("slow")+`
  terminationGracePeriodSeconds: 1
  containers:
`+probed("app", stubborn, "lifecycle: {preStop: {exec: {command: [sleep, '1000']}}}")+`
  volumes: [{name: v, emptyDir: {}}]
---
apiVersion: v1
kind: Pod
metadata: {name: short}
spec:
  restartPolicy: Never
  containers:
`+probed("app", "sleep 1", "lifecycle: {postStart: {exec: {command: [sleep, '1000']}}}")+`
  volumes: [{name: v, emptyDir: {}}]
---
apiVersion: v1
kind: Pod
metadata: {name: broken}
spec:
  terminationGracePeriodSeconds: 5
  containers:
`+probed("app", stubborn, "lifecycle: {postStart: {exec: {command: [sh, -c, 'echo out; echo err >&2; exit 3']}}}")+`
  volumes: [{name: v, emptyDir: {}}]
`)
	pod := n.awaitPod("broken", "its hook has failed", func(p *corev1.Pod) bool {
		s := status(p, "app")
		return s != nil && s.State.Waiting != nil && s.State.Waiting.Reason == "PostStartHookError"
	})
	want := `Exec lifecycle hook ([sh -c echo out; echo err >&2; exit 3]) for Container "app" in Pod "` + pod.Name + `_default(` + string(pod.UID) +
		`)" failed - error: command 'sh -c echo out; echo err >&2; exit 3' exited with 3: err` + "\n" + `, message: "out\nerr\n"`
	if got := status(&pod, "app").State.Waiting.Message; got != want {
		t.Errorf("message %s\nwant %s", got, want)
	}
	n.awaitPod("short", "ended", func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodSucceeded })
	n.awaitPod("slow", "ready", podReady)
	n.remove("cut.yaml")
	n.awaitGone("slow")
	for name, want := range map[string]string{"slow": "FailedPreStopHook: PreStopHook failed", "short": "FailedPostStartHook: PostStartHook failed"} {
		n.eventually("the failure of the hook of "+name+" is told", func() bool { return slices.Contains(n.events(name), want) })
	}
}
