// SPDX-License-Identifier: Apache-2.0

package podmgr

import (
	"fmt"
	"os"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

const (
	// clusterDomain is Kubernetes' default.
	clusterDomain = "cluster.local"
	// hostnameMax is to what a Pod's host name is cut, fqdnMax what the kernel takes.
	hostnameMax, fqdnMax = 63, 64
)

// hostname and domain are the name in the Pod's /etc/hosts: the node's with
// hostNetwork, else the Pod's own, cut to the length of a DNS label. hostnameOverride has
// no domain.
func (n *NodeFacts) hostname(pod *corev1.Pod) (name, domain string) {
	if pod.Spec.HostNetwork {
		name, err := os.Hostname()
		if err != nil {
			return n.NodeName, ""
		}
		return name, ""
	}
	if override := pod.Spec.HostnameOverride; override != nil {
		return cutHostname(*override), ""
	}
	name = pod.Spec.Hostname
	if name == "" {
		name = pod.Name
	}
	if pod.Spec.Subdomain != "" {
		domain = fmt.Sprintf("%s.%s.svc.%s", pod.Spec.Subdomain, pod.Namespace, clusterDomain)
	}
	return cutHostname(name), domain
}

func cutHostname(name string) string {
	if len(name) > hostnameMax {
		name = strings.TrimRight(name[:hostnameMax], "-.")
	}
	return name
}

// kernelHostname is what the Pod's containers see as their host name: with
// setHostnameAsFQDN and a subdomain the whole name, which may be too long for the kernel.
func (n *NodeFacts) kernelHostname(pod *corev1.Pod) (string, error) {
	name, domain := n.hostname(pod)
	if domain == "" || !isTrue(pod.Spec.SetHostnameAsFQDN) {
		return name, nil
	}
	fqdn := name + "." + domain
	if len(fqdn) > fqdnMax {
		return "", fmt.Errorf("failed to construct FQDN from pod hostname and cluster domain, FQDN %s is too long (%d characters is the max, %d characters requested)",
			fqdn, fqdnMax, len(fqdn))
	}
	return fqdn, nil
}
