// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"slices"
	"strconv"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// TestProcesses shows what a container's process is given: arguments, variables,
// directory, limits of what it may do.
func TestProcesses(t *testing.T) {
	n := startNode(t)
	n.apply("env.yaml", strings.Replace(podOf("env", "restartPolicy: Never",
		apps(
			busybox("app", `command: [sh, -c, 'echo "$0 $1 $2"; pwd; env | sort | grep ^E_; echo end']`, `args: ["$(E_ONE)", "$$(E_ONE)", "$(E_NONE)"]`, "workingDir: /made/here",
				"resources: {requests: {cpu: 100m, memory: 16Mi}, limits: {cpu: 1500m, memory: 32Mi}}",
				"env: ["+strings.Join([]string{
					"{name: E_ONE, value: one}", "{name: E_TWO, value: $(E_ONE)-two-$(E_LATER)}", "{name: E_LATER, value: later}",
					field("E_NAME", "metadata.name"), field("E_NS", "metadata.namespace"), field("E_UID", "metadata.uid"), field("E_LABEL", "metadata.labels['app']"),
					field("E_NODE", "spec.nodeName"), field("E_IP", "status.podIP"), field("E_HOST", "status.hostIP"),
					"{name: E_CPU, valueFrom: {resourceFieldRef: {resource: limits.cpu}}}",
					"{name: E_MILLI, valueFrom: {resourceFieldRef: {resource: requests.cpu, divisor: 1m}}}",
					"{name: E_MEM, valueFrom: {resourceFieldRef: {resource: limits.memory, divisor: 1Mi}}}",
				}, ", ")+"]"))), "{name: env}", "{name: env, labels: {app: shown}}", 1))
	n.apply("secure.yaml", podOf("secure", "restartPolicy: Never", "securityContext: {runAsUser: 1000, runAsGroup: 2000, supplementalGroups: [3000]}",
		apps(
			sh("user", "id -u; id -g; id -G; echo end"),
			sh("readonly", "touch /x 2>&1 | grep -o 'Read-only file system'; echo end", "securityContext: {readOnlyRootFilesystem: true, runAsUser: 0}"),
			sh("caps", capsOf+"; echo end", "securityContext: {runAsUser: 0, capabilities: {drop: [ALL]}}"),
			sh("some", capsOf+"; echo end", "securityContext: {runAsUser: 0, capabilities: {drop: [ALL], add: [NET_BIND_SERVICE]}}"),
			sh("default", capsOf+"; grep -E '^(NoNewPrivs|Seccomp):' /proc/self/status | tr -d '\\t'; mount -t tmpfs x /tmp 2>&1 | grep -o denied; echo end", "securityContext: {runAsUser: 0}"),
			sh("nonew", "grep -E '^NoNewPrivs:' /proc/self/status | tr -d '\\t'; echo end", "securityContext: {allowPrivilegeEscalation: false}"),
			sh("unconfined", "grep -E '^Seccomp:' /proc/self/status | tr -d '\\t'; echo end", "securityContext: {seccompProfile: {type: Unconfined}}"))))
	n.apply("sharing.yaml", podOf("sharing", "restartPolicy: Never", "shareProcessNamespace: true",
		apps(sh("seen", "exec sleep 4711", "securityContext: {runAsUser: 0}"),
			sh("looks", "until pgrep -f 'sleep 4711' >/dev/null 2>&1 || ps | grep -q '[s]leep 4711'; do sleep 0.1; done; ps | grep -c '[p]ause'; echo seen; kill $(pidof sleep) ; echo end", "securityContext: {runAsUser: 0}"))))
	n.apply("hostpid.yaml", podOf("hostpid", "restartPolicy: Never", "hostPID: true", apps(sh("app", "readlink /proc/self/ns/pid; test -d /proc/"+strconv.Itoa(n.daemon.Process.Pid)+" && echo the agent; echo end"))))
	n.apply("own.yaml", podOf("own", "restartPolicy: Never", apps(sh("app", "echo $$$$; ps | grep -c '[s]leep 100000'; echo end"), sh("other", "sleep 2"))))

	env := n.awaitPhase("env", corev1.PodSucceeded)
	if got, want := n.said(env, "app"), []string{
		"one $(E_ONE) $(E_NONE)", "/made/here", "E_CPU=2", "E_HOST=" + env.Status.HostIP, "E_IP=" + env.Status.PodIP, "E_LABEL=shown", "E_LATER=later", "E_MEM=32",
		"E_MILLI=100", "E_NAME=env-n1", "E_NODE=n1", "E_NS=default", "E_ONE=one", "E_TWO=one-two-$(E_LATER)", "E_UID=" + string(env.UID),
	}; !slices.Equal(got, want) {
		t.Errorf("environment:\n%q, want\n%q", got, want)
	}

	secure := n.awaitPhase("secure", corev1.PodSucceeded)
	for container, want := range map[string][]string{
		"user":       {"1000", "2000", "2000 3000"},
		"readonly":   {"Read-only file system"},
		"caps":       {"CapEff:0000000000000000"},
		"some":       {"CapEff:0000000000000400"},
		"default":    {"CapEff:00000000a80425fb", "NoNewPrivs:0", "Seccomp:2", "denied"},
		"nonew":      {"NoNewPrivs:1"},
		"unconfined": {"Seccomp:0"},
	} {
		if got := n.said(secure, container); !slices.Equal(got, want) {
			t.Errorf("container %s: %q, want %q", container, got, want)
		}
	}

	sharing := n.awaitPod("sharing", "looks has ended", func(p *corev1.Pod) bool { return ended(p, "looks") != nil })
	if got := n.said(sharing, "looks"); !slices.Equal(got, []string{"1", "seen"}) {
		t.Errorf("with a shared PID namespace: %q", got)
	}
	if got := n.said(n.awaitPhase("hostpid", corev1.PodSucceeded), "app"); len(got) != 2 || got[1] != "the agent" {
		t.Errorf("with the host's PID namespace: %q", got)
	}
	if got := n.said(n.awaitPhase("own", corev1.PodSucceeded), "app"); !slices.Equal(got, []string{"1", "0"}) {
		t.Errorf("in a PID namespace of its own: %q", got)
	}
}

// capsOf prints the effective capabilities.
const capsOf = `grep ^CapEff: /proc/self/status | tr -d '\t'`

func field(name, path string) string {
	return "{name: " + name + ", valueFrom: {fieldRef: {fieldPath: " + quote(path) + "}}}"
}

// TestLastWords reads the messages that containers leave.
func TestLastWords(t *testing.T) {
	n := startNode(t)
	fallback := "terminationMessagePolicy: FallbackToLogsOnError"
	n.apply("words.yaml", podOf("words", "restartPolicy: Never", apps(
		sh("file", "echo gone for good >/dev/termination-log; exit 2"),
		sh("elsewhere", "echo -n elsewhere >/tmp/message", "terminationMessagePath: /tmp/message"),
		sh("logs", "echo first; echo last; exit 3", fallback),
		sh("both", "echo logged; echo -n written >/dev/termination-log; exit 3", fallback),
		sh("fine", "echo logged", fallback),
		sh("long", "head -c 10000 /dev/zero | tr '\\000' x >/dev/termination-log"))))
	pod := n.awaitPhase("words", corev1.PodFailed)
	for container, want := range map[string]string{
		"file": "gone for good\n", "elsewhere": "elsewhere", "logs": "first\nlast\n", "both": "written", "fine": "", "long": strings.Repeat("x", 12<<10/6), // they share 12 KiB

	} {
		if got := ended(&pod, container).Message; got != want {
			t.Errorf("container %s: message %q, want %q", container, got, want)
		}
	}
}

// TestStartTrouble has containers that cannot be started, each for a reason of its
// own, next to a Pod that runs.
func TestStartTrouble(t *testing.T) {
	n := startNode(t)
	n.apply("command.yaml", podOf("command", "restartPolicy: Never", apps(busybox("app", "command: [/no/such/program]"))))
	n.apply("absent.yaml", podOf("absent", apps("{name: app, image: registry.example/absent:1, imagePullPolicy: Never}")))
	n.apply("invalid.yaml", podOf("invalid", apps("{name: app, image: 'Not::An::Image', imagePullPolicy: Never}")))
	n.apply("nonroot.yaml", podOf("nonroot", "securityContext: {runAsNonRoot: true}", apps(sh("app", "true"))))
	n.apply("fine.yaml", podOf("fine", apps(sh("app", forever))))

	command := n.awaitPhase("command", corev1.PodFailed)
	if e := ended(&command, "app"); e == nil || e.ExitCode != 128 || e.Reason != "StartError" || !strings.Contains(e.Message, "/no/such/program") {
		t.Errorf("a command that is not there: %+v", e)
	}
	n.awaitEvent("command", "Failed: Error: ")
	for name, want := range map[string][2]string{
		"absent":  {"ErrImageNeverPull", `Container image "registry.example/absent:1" is not present with pull policy of Never`},
		"invalid": {"InvalidImageName", "Not::An::Image"},
		"nonroot": {"CreateContainerConfigError", "runAsNonRoot"},
	} {
		pod := n.awaitPod(name, want[0], func(p *corev1.Pod) bool { return waits(p, "app", want[0]) })
		if got := status(&pod, "app").State.Waiting.Message; !strings.Contains(got, want[1]) {
			t.Errorf("%s: message %q, want %q in it", name, got, want[1])
		}
		if pod.Status.Phase != corev1.PodPending || status(&pod, "app").RestartCount != 0 {
			t.Errorf("%s: %s, restarted %d times", name, pod.Status.Phase, status(&pod, "app").RestartCount)
		}
	}
	fine := n.awaitRunning("fine")
	if status(&fine, "app").RestartCount != 0 {
		t.Errorf("the Pod beside them: %+v", fine.Status)
	}
}
