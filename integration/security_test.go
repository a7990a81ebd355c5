// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"os"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// TestSeccompProfiles: a profile below the node's directory is in effect, for what is
// run later in the container too, and a link leads nowhere else.
func TestSeccompProfiles(t *testing.T) {
	n := newNode(t)
	const profile = `{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["chmod", "fchmodat", "fchmodat2"], "action": "SCMP_ACT_ERRNO"}]}`
	if err := os.MkdirAll(n.path("data", "seccomp", "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{n.path("data", "seccomp", "sub", "chmod.json"), n.path("data", "outside.json")} {
		if err := os.WriteFile(file, []byte(profile), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("../outside.json", n.path("data", "seccomp", "climbs.json")); err != nil {
		t.Fatal(err)
	}
	n.start()
	localhost := func(file string) string {
		return "securityContext: {seccompProfile: {type: Localhost, localhostProfile: " + file + "}}"
	}
	const script = "touch /tmp/f; chmod 700 /tmp/f 2>/dev/null && echo changed || echo refused; grep ^Seccomp: /proc/self/status | tr -d \"\\t\"; echo end"
	n.apply("seccomp.yaml", podOf("filtered", "restartPolicy: Never", localhost("sub/chmod.json"), apps(
		sh("own", script),
		sh("default", script, "securityContext: {seccompProfile: {type: RuntimeDefault}}"),
		sh("none", script, "securityContext: {seccompProfile: {type: Unconfined}}")))+
		"---\n"+podOf("climbs", apps(sh("app", forever, localhost("climbs.json"))))+
		"---\n"+podOf("absent", apps(sh("app", forever, localhost("absent.json")))))
	pod := n.awaitPhase("filtered", corev1.PodSucceeded)
	for container, want := range map[string][]string{
		"own": {"refused", "Seccomp:2"}, "default": {"changed", "Seccomp:2"}, "none": {"changed", "Seccomp:0"},
	} {
		if got := n.said(pod, container); !slices.Equal(got, want) {
			t.Errorf("%s says %q, want %q", container, got, want)
		}
	}
	for name, want := range map[string]string{"climbs": "leads out of", "absent": "no such file"} {
		pod := n.awaitPod(name, "CreateContainerError", func(p *corev1.Pod) bool { return waits(p, "app", "CreateContainerError") })
		message := status(&pod, "app").State.Waiting.Message
		if !strings.Contains(message, "cannot load seccomp profile") || !strings.Contains(message, want) || !strings.Contains(message, n.path("data", "seccomp", name+".json")) {
			t.Errorf("%s: message %q", name, message)
		}
	}
}

// TestSysctls: safe ones and allowed ones are set, others keep the Pod from running.
func TestSysctls(t *testing.T) {
	n := startNode(t, "--allowed-unsafe-sysctls", "net.core.*")
	sysctl := func(name string) string {
		return "securityContext: {sysctls: [{name: " + name + ", value: \"1234\"}]}"
	}
	n.apply("sysctls.yaml", podOf("set", "restartPolicy: Never", sysctl("net/core/somaxconn"),
		apps(sh("app", "cd /proc/sys/net; cat core/somaxconn ipv4/ip_unprivileged_port_start; cut -f 2 ipv4/ping_group_range; echo end")))+
		"---\n"+podOf("plain", "restartPolicy: Never", "securityContext: {runAsUser: 1000}",
		apps(sh("app", "cat /proc/sys/net/ipv4/ip_unprivileged_port_start; nc -l -p 80 -w 1 2>&1 | grep -i denied; echo end")))+
		"---\n"+podOf("unsafe", sysctl("kernel.msgmax"), apps(sh("app", forever))))
	if got, want := n.said(n.awaitPhase("set", corev1.PodSucceeded), "app"), []string{"1234", "0", "2147483647"}; !slices.Equal(got, want) {
		t.Errorf("the Pod has %q, want %q", got, want)
	}
	if got, want := n.said(n.awaitPhase("plain", corev1.PodSucceeded), "app"), []string{"0"}; !slices.Equal(got, want) {
		t.Errorf("a Pod without sysctls has %q, want %q", got, want)
	}
	pod := n.awaitPhase("unsafe", corev1.PodFailed)
	if pod.Status.Reason != "SysctlForbidden" || !strings.Contains(pod.Status.Message, `forbidden sysctl: "kernel.msgmax" not allowlisted`) {
		t.Errorf("reason %s, message %q", pod.Status.Reason, pod.Status.Message)
	}
	n.awaitEvent("unsafe", "SysctlForbidden: ")
}

// TestAppArmorRefused: on a node without it, a Pod that asks for a profile fails.
func TestAppArmorRefused(t *testing.T) {
	if _, err := os.Stat("/sys/kernel/security/apparmor"); err == nil {
		t.Skip("this kernel has AppArmor")
	}
	n := startNode(t)
	n.apply("apparmor.yaml", podOf("confined", "securityContext: {appArmorProfile: {type: RuntimeDefault}}", apps(sh("app", forever)))+
		"---\n"+podOf("free", "restartPolicy: Never", "securityContext: {appArmorProfile: {type: Unconfined}}", apps(sh("app", "true"))))
	pod := n.awaitPhase("confined", corev1.PodFailed)
	if pod.Status.Reason != "AppArmor" || !strings.Contains(pod.Status.Message, "Cannot enforce AppArmor: AppArmor is not enabled on the host") {
		t.Errorf("reason %s, message %q", pod.Status.Reason, pod.Status.Message)
	}
	n.awaitPhase("free", corev1.PodSucceeded)
}

// TestHostnames: what a Pod's containers see as their name.
func TestHostnames(t *testing.T) {
	n := startNode(t)
	const look = "hostname; cat /etc/hostname; echo $HOSTNAME; grep -v -e localhost -e ip6 -e \"#\" /etc/hosts | cut -f 2-; echo end"
	long := strings.Repeat("x", 30)
	n.apply("names.yaml", podOf("override", "restartPolicy: Never", "hostnameOverride: db.example.org", "subdomain: ignored", apps(sh("app", look)))+
		"---\n"+podOf("fqdn", "restartPolicy: Never", "hostname: web", "subdomain: sub", "setHostnameAsFQDN: true", apps(sh("app", look)))+
		"---\n"+podOf("short", "restartPolicy: Never", "hostname: web", "subdomain: sub", apps(sh("app", look)))+
		"---\n"+podOf("long", "hostname: "+long, "subdomain: "+long, "setHostnameAsFQDN: true", apps(sh("app", forever))))
	for name, want := range map[string][]string{
		"override": {"db.example.org", "db.example.org", "db.example.org", "db.example.org"},
		"fqdn":     {"web.sub.default.svc.cluster.local", "web.sub.default.svc.cluster.local", "web.sub.default.svc.cluster.local", "web.sub.default.svc.cluster.local\tweb"},
		"short":    {"web", "web", "web", "web.sub.default.svc.cluster.local\tweb"},
	} {
		if got := n.said(n.awaitPhase(name, corev1.PodSucceeded), "app"); !slices.Equal(got, want) {
			t.Errorf("%s sees %q, want %q", name, got, want)
		}
	}
	event := n.awaitEvent("long", "FailedCreatePodSandBox: ")
	if !strings.Contains(event, `Failed to generate sandbox config for pod "long-n1_default(`) || !strings.Contains(event, "is too long (64 characters is the max, 87 characters requested)") {
		t.Errorf("event %q", event)
	}
}
