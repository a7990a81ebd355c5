// SPDX-License-Identifier: Apache-2.0

package spec

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/component-helpers/node/util/sysctl"
	"k8s.io/kubernetes/pkg/apis/policy/validation"
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

// AllowedSysctls are the names and, with a * at their end, prefixes of the kernel
// parameters that Pods may set: the safe ones, and those that the node's owner adds.
type AllowedSysctls struct {
	names, prefixes map[string]sysctl.Namespace
}

// AllowSysctls adds the patterns of the node's owner to the safe parameters. As with
// the kubelet's allowedUnsafeSysctls, a pattern must be of a parameter that the kernel
// has for each namespace.
func AllowSysctls(patterns []string) (AllowedSysctls, error) {
	a := AllowedSysctls{names: map[string]sysctl.Namespace{}, prefixes: map[string]sysctl.Namespace{}}
	for _, pattern := range append(safeSysctls(), patterns...) {
		if !validation.IsValidSysctlPattern(pattern) {
			return AllowedSysctls{}, fmt.Errorf("%q is not the name of a sysctl, or the beginning of one with a * at its end", pattern)
		}
		ns, name, prefix := sysctl.GetNamespace(pattern)
		switch {
		case ns == sysctl.UnknownNamespace:
			return AllowedSysctls{}, fmt.Errorf("the sysctls %q are not known to be namespaced: a Pod would change them for the whole machine", name)
		case prefix:
			a.prefixes[name] = ns
		default:
			a.names[name] = ns
		}
	}
	return a, nil
}

// Admit refuses, in the kubelet's words, a Pod with a parameter that is not allowed or
// that belongs to a namespace which the Pod shares with the host.
func (a AllowedSysctls) Admit(pod *corev1.Pod) error {
	if pod.Spec.SecurityContext == nil {
		return nil
	}
	for _, s := range pod.Spec.SecurityContext.Sysctls {
		name := sysctl.NormalizeName(s.Name)
		ns, ok := a.namespace(name)
		switch {
		case !ok:
			return fmt.Errorf("forbidden sysctl: %q not allowlisted", name)
		case ns == sysctl.IPCNamespace && pod.Spec.HostIPC, ns == sysctl.NetNamespace && pod.Spec.HostNetwork:
			return fmt.Errorf("forbidden sysctl: %q not allowed with host %s enabled", name, ns)
		}
	}
	return nil
}

func (a AllowedSysctls) namespace(name string) (sysctl.Namespace, bool) {
	if ns, ok := a.names[name]; ok {
		return ns, true
	}
	for prefix, ns := range a.prefixes {
		if strings.HasPrefix(name, prefix) {
			return ns, true
		}
	}
	return "", false
}

// Sysctls gives the kernel parameters of a Pod's own namespaces that the Pod asks for.
// It refuses what Admit refuses.
func Sysctls(pod *corev1.Pod, n Node) (map[string]string, error) {
	if err := n.Sysctls.Admit(pod); err != nil {
		return nil, fmt.Errorf("spec.securityContext.sysctls: %w", err)
	}
	if pod.Spec.SecurityContext == nil || len(pod.Spec.SecurityContext.Sysctls) == 0 {
		return nil, nil
	}
	out := map[string]string{}
	for _, s := range pod.Spec.SecurityContext.Sysctls {
		out[sysctl.NormalizeName(s.Name)] = s.Value
	}
	return out, nil
}

// DefaultSysctls are those of every network namespace of a Pod: as with containerd's
// CRI, it may bind low ports and send pings without a capability.
func DefaultSysctls() map[string]string {
	return map[string]string{
		"net.ipv4.ip_unprivileged_port_start": "0",
		"net.ipv4.ping_group_range":           "0 2147483647",
	}
}
