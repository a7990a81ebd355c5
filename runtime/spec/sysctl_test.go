// SPDX-License-Identifier: Apache-2.0

package spec

import (
	"reflect"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func sysctlPod(change func(*corev1.PodSpec), names ...string) *corev1.Pod {
	p := &corev1.Pod{Spec: corev1.PodSpec{SecurityContext: &corev1.PodSecurityContext{}}}
	for _, n := range names {
		p.Spec.SecurityContext.Sysctls = append(p.Spec.SecurityContext.Sysctls, corev1.Sysctl{Name: n, Value: "1"})
	}
	if change != nil {
		change(&p.Spec)
	}
	return p
}

func TestSysctls(t *testing.T) {
	hostNet := func(s *corev1.PodSpec) { s.HostNetwork = true }
	hostIPC := func(s *corev1.PodSpec) { s.HostIPC = true }
	for _, c := range []struct {
		name    string
		allowed []string
		pod     *corev1.Pod
		err     string
	}{
		{"safe", nil, sysctlPod(nil, "kernel.shm_rmid_forced", "net/ipv4/tcp_syncookies", "net.ipv4.tcp_rmem"), ""},
		{"none", nil, &corev1.Pod{}, ""},
		{"safe ones of other namespaces than the host's", nil, sysctlPod(hostNet, "kernel.shm_rmid_forced"), ""},
		{"unsafe", nil, sysctlPod(nil, "kernel.shm_rmid_forced", "kernel.msgmax"), `forbidden sysctl: "kernel.msgmax" not allowlisted`},
		{"of the machine", nil, sysctlPod(nil, "vm.swappiness"), `forbidden sysctl: "vm.swappiness" not allowlisted`},
		{"with slashes", nil, sysctlPod(nil, "kernel/msgmax"), `forbidden sysctl: "kernel.msgmax" not allowlisted`},
		{"host network", nil, sysctlPod(hostNet, "net.ipv4.tcp_syncookies"), `forbidden sysctl: "net.ipv4.tcp_syncookies" not allowed with host Net enabled`},
		{"host IPC", nil, sysctlPod(hostIPC, "kernel.shm_rmid_forced"), `forbidden sysctl: "kernel.shm_rmid_forced" not allowed with host IPC enabled`},
		{"allowed", []string{"kernel.msgmax", "net.core.*"}, sysctlPod(nil, "kernel.msgmax", "net.core.somaxconn"), ""},
		{"beside an allowed pattern", []string{"net.core.*"}, sysctlPod(nil, "net.corex"), `forbidden sysctl: "net.corex" not allowlisted`},
		{"allowed with host network", []string{"net.core.*"}, sysctlPod(hostNet, "net.core.somaxconn"), `forbidden sysctl: "net.core.somaxconn" not allowed with host Net enabled`},
		{"allowed with host IPC", []string{"fs.mqueue.*"}, sysctlPod(hostIPC, "fs.mqueue.msg_max"), `forbidden sysctl: "fs.mqueue.msg_max" not allowed with host IPC enabled`},
	} {
		allowed, err := AllowSysctls(c.allowed)
		if err != nil {
			t.Fatal(err)
		}
		err = allowed.Admit(c.pod)
		if got := errorText(err); got != c.err {
			t.Errorf("%s: %q, want %q", c.name, got, c.err)
		}
		if _, err := Sysctls(c.pod, Node{Sysctls: allowed}); (err == nil) != (c.err == "") {
			t.Errorf("%s: Sysctls gives %v", c.name, err)
		}
	}
	if err := (AllowedSysctls{}).Admit(sysctlPod(nil, "net.ipv4.tcp_syncookies")); err == nil {
		t.Error("a zero value allows a sysctl")
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestSysctlNames(t *testing.T) {
	allowed, err := AllowSysctls([]string{"net.ipv4.conf.*"})
	if err != nil {
		t.Fatal(err)
	}
	got, err := Sysctls(sysctlPod(nil, "kernel.shm_rmid_forced", "net/ipv4/tcp_syncookies", "net/ipv4/conf/eth0.7/rp_filter", "net.ipv4.conf.eth0/8.rp_filter"), Node{Sysctls: allowed})
	want := map[string]string{"kernel.shm_rmid_forced": "1", "net.ipv4.tcp_syncookies": "1", "net.ipv4.conf.eth0/7.rp_filter": "1", "net.ipv4.conf.eth0/8.rp_filter": "1"}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v, %v", got, err)
	}
}

func TestAllowSysctlsRefuses(t *testing.T) {
	for pattern, want := range map[string]string{
		"vm.swappiness": "not known to be namespaced", "kernel.*": "not known to be namespaced", "*": "not known to be namespaced",
		"net.*.x": "is not the name", "net..x": "is not the name", "": "is not the name", "net.ipv4/../x": "is not the name",
	} {
		if _, err := AllowSysctls([]string{pattern}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", pattern, err, want)
		}
	}
}
