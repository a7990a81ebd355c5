// SPDX-License-Identifier: Apache-2.0

package network

import (
	"bytes"
	"fmt"
	"net/netip"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// HostsFile returns the contents of /etc/hosts for a Pod with a network of its
// own, as Kubernetes documents it: loopback names, the Pod's addresses with
// hostname.domain and hostname, then one line for each host alias. An empty
// domain leaves the bare hostname.
func HostsFile(ips []netip.Addr, hostname, domain string, aliases []corev1.HostAlias) []byte {
	var b bytes.Buffer
	b.WriteString("# Kubernetes-managed hosts file.\n")
	for _, l := range [][2]string{
		{"127.0.0.1", "localhost"},
		{"::1", "localhost ip6-localhost ip6-loopback"},
		{"fe00::0", "ip6-localnet"},
		{"fe00::0", "ip6-mcastprefix"},
		{"fe00::1", "ip6-allnodes"},
		{"fe00::2", "ip6-allrouters"},
	} {
		fmt.Fprintf(&b, "%s\t%s\n", l[0], l[1])
	}
	for _, ip := range ips {
		if domain != "" {
			fmt.Fprintf(&b, "%s\t%s.%s\t%s\n", ip, hostname, domain, hostname)
		} else {
			fmt.Fprintf(&b, "%s\t%s\n", ip, hostname)
		}
	}
	writeAliases(&b, aliases)
	return b.Bytes()
}

// HostNetworkHostsFile returns the contents of /etc/hosts for a Pod on the
// host's network: the host's own file and the host aliases.
func HostNetworkHostsFile(host []byte, aliases []corev1.HostAlias) []byte {
	var b bytes.Buffer
	b.WriteString("# Kubernetes-managed hosts file (host network).\n")
	b.Write(host)
	if len(host) > 0 && host[len(host)-1] != '\n' {
		b.WriteByte('\n')
	}
	writeAliases(&b, aliases)
	return b.Bytes()
}

func writeAliases(b *bytes.Buffer, aliases []corev1.HostAlias) {
	if len(aliases) == 0 {
		return
	}
	b.WriteString("\n# Entries added by HostAliases.\n")
	for _, a := range aliases {
		fmt.Fprintf(b, "%s\t%s\n", a.IP, strings.Join(a.Hostnames, "\t"))
	}
}
