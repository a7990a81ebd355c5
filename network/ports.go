// SPDX-License-Identifier: Apache-2.0

package network

import (
	"errors"
	"fmt"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
)

// ErrPortTaken says that a hostPort is in use by another Pod or by a process of
// the host. The error that wraps it names both sides.
var ErrPortTaken = errors.New("hostPort is taken")

// HostPort maps a port of the host to one of the Pod.
type HostPort struct {
	Protocol      corev1.Protocol // TCP, UDP or SCTP; empty means TCP
	HostIP        netip.Addr      // the zero value means every address of the host
	Port          uint16          // of the host
	ContainerPort uint16
}

func (p HostPort) String() string {
	if p.HostIP.IsValid() {
		return fmt.Sprintf("%s/%s", netip.AddrPortFrom(p.HostIP, p.Port), p.Protocol)
	}
	return fmt.Sprintf("%d/%s", p.Port, p.Protocol)
}

// HostPorts returns the hostPorts of a Pod that have to be mapped: its Claims, but
// none of a Pod on the host's network.
func HostPorts(spec *corev1.PodSpec) ([]HostPort, error) {
	if spec.HostNetwork {
		return nil, nil
	}
	return Claims(spec)
}

// Claims returns the ports of the host that a Pod wants for itself: those of the app
// containers and of the sidecars (init containers that restart always), which the
// scheduler counts too. Other init containers have none. Those of a Pod on the host's
// network are the ports that its containers say they listen on. Errors carry the field's
// path.
func Claims(spec *corev1.PodSpec) ([]HostPort, error) {
	var all []HostPort
	add := func(field string, ports []corev1.ContainerPort) error {
		for i, p := range ports {
			if p.HostPort == 0 {
				continue
			}
			hp := HostPort{Protocol: p.Protocol, Port: uint16(p.HostPort), ContainerPort: uint16(p.ContainerPort)}
			if p.HostIP != "" {
				ip, err := netip.ParseAddr(p.HostIP)
				if err != nil {
					return fmt.Errorf("%s.ports[%d].hostIP: %q is not an IP address", field, i, p.HostIP)
				}
				hp.HostIP = ip
			}
			hp, err := hp.normal()
			if err != nil {
				return fmt.Errorf("%s.ports[%d]: %w", field, i, err)
			}
			all = append(all, hp)
		}
		return nil
	}
	for i, c := range spec.InitContainers {
		if c.RestartPolicy == nil || *c.RestartPolicy != corev1.ContainerRestartPolicyAlways {
			continue
		}
		if err := add(fmt.Sprintf("spec.initContainers[%d]", i), c.Ports); err != nil {
			return nil, err
		}
	}
	for i, c := range spec.Containers {
		if err := add(fmt.Sprintf("spec.containers[%d]", i), c.Ports); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// normal fills in the defaults and refuses what cannot be mapped.
func (p HostPort) normal() (HostPort, error) {
	if p.Protocol == "" {
		p.Protocol = corev1.ProtocolTCP
	}
	if _, err := protocolNumber(p.Protocol); err != nil {
		return p, err
	}
	if p.Port == 0 || p.ContainerPort == 0 {
		return p, fmt.Errorf("hostPort %s to container port %d: a port is 1 to 65535", p, p.ContainerPort)
	}
	p.HostIP = p.HostIP.Unmap()
	if p.HostIP.IsValid() && p.HostIP.IsUnspecified() {
		p.HostIP = netip.Addr{}
	}
	if p.HostIP.IsValid() && !p.HostIP.Is4() {
		return p, fmt.Errorf("hostPort %s: Pods have IPv4 addresses only, so hostIP must be an IPv4 address", p)
	}
	return p, nil
}

// Overlaps reports whether two mappings claim the same port: same protocol and
// number, and an address in common (Kubernetes' HostPortInfo.CheckConflict).
func (p HostPort) Overlaps(o HostPort) bool {
	return p.Protocol == o.Protocol && p.Port == o.Port &&
		(!p.HostIP.IsValid() || !o.HostIP.IsValid() || p.HostIP == o.HostIP)
}

// protocolNumber is the IANA number of a Kubernetes protocol.
func protocolNumber(p corev1.Protocol) (byte, error) {
	switch p {
	case corev1.ProtocolTCP:
		return 6, nil
	case corev1.ProtocolUDP:
		return 17, nil
	case corev1.ProtocolSCTP:
		return 132, nil
	}
	return 0, fmt.Errorf("protocol %q: want TCP, UDP or SCTP", p)
}

func protocolName(n byte) corev1.Protocol {
	switch n {
	case 6:
		return corev1.ProtocolTCP
	case 17:
		return corev1.ProtocolUDP
	case 132:
		return corev1.ProtocolSCTP
	}
	return ""
}

// normalPorts normalises a request's ports, drops exact duplicates and refuses
// two that claim the same host port for different container ports.
func normalPorts(ports []HostPort) ([]HostPort, error) {
	var out []HostPort
next:
	for _, p := range ports {
		p, err := p.normal()
		if err != nil {
			return nil, err
		}
		for _, o := range out {
			if o == p {
				continue next
			}
			if o.Overlaps(p) {
				return nil, fmt.Errorf("%w: hostPort %s is claimed twice by this Pod", ErrPortTaken, p)
			}
		}
		out = append(out, p)
	}
	return out, nil
}
