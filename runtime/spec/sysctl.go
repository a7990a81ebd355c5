// SPDX-License-Identifier: Apache-2.0

package spec

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// safeSysctls are those that Kubernetes lets a Pod set without an allow-list
// of the node's owner: namespaced, and without influence on other Pods.
func safeSysctls() []string {
	return []string{
		"kernel.shm_rmid_forced",
		"net.ipv4.ip_local_port_range",
		"net.ipv4.ip_local_reserved_ports",
		"net.ipv4.ip_unprivileged_port_start",
		"net.ipv4.ping_group_range",
		"net.ipv4.tcp_fin_timeout",
		"net.ipv4.tcp_keepalive_intvl",
		"net.ipv4.tcp_keepalive_probes",
		"net.ipv4.tcp_keepalive_time",
		"net.ipv4.tcp_rmem",
		"net.ipv4.tcp_syncookies",
		"net.ipv4.tcp_wmem",
	}
}

// Sysctls gives the kernel parameters of a Pod's namespaces, for its pause
// container. In a network namespace of its own a Pod may, as with containerd's
// CRI, bind low ports and send pings without a capability. A parameter that
// is not safe, or that belongs to a namespace which the Pod shares with the
// host, is an error with the path of the field.
func Sysctls(pod *corev1.Pod) (map[string]string, error) {
	out := map[string]string{}
	if !pod.Spec.HostNetwork {
		out["net.ipv4.ip_unprivileged_port_start"] = "0"
		out["net.ipv4.ping_group_range"] = "0 2147483647"
	}
	if pod.Spec.SecurityContext == nil {
		return out, nil
	}
	for i, s := range pod.Spec.SecurityContext.Sysctls {
		field := fmt.Sprintf("spec.securityContext.sysctls[%d].name", i)
		// Both separators are allowed; with slashes, dots are part of a name.
		name := s.Name
		if !strings.Contains(name, ".") {
			name = strings.ReplaceAll(name, "/", ".")
		}
		switch {
		case !slices.Contains(safeSysctls(), name):
			return nil, fmt.Errorf("%s: forbidden sysctl: %q not allowlisted", field, s.Name)
		case pod.Spec.HostNetwork && strings.HasPrefix(name, "net."):
			return nil, fmt.Errorf("%s: forbidden sysctl: %q not allowed with host net enabled", field, s.Name)
		case pod.Spec.HostIPC && strings.HasPrefix(name, "kernel."):
			return nil, fmt.Errorf("%s: forbidden sysctl: %q not allowed with host ipc enabled", field, s.Name)
		}
		out[name] = s.Value
	}
	return out, nil
}
