// SPDX-License-Identifier: Apache-2.0

package network

import (
	"net"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
)

// udpFlows matches connection tracking entries of UDP flows that a changed
// hostPort is about: those sent to the mapping's Pod, and those that went to the
// host itself before there was a mapping.
type udpFlows struct {
	changed []mapping
	local   map[string]bool // the host's addresses
}

// MatchConntrackFlow implements netlink.CustomConntrackFilter.
func (u udpFlows) MatchConntrackFlow(f *netlink.ConntrackFlow) bool {
	if f.Forward.Protocol != unix.IPPROTO_UDP {
		return false
	}
	for _, m := range u.changed {
		toPod := f.Reverse.SrcIP.Equal(net.IP(m.IP.AsSlice())) && f.Reverse.SrcPort == m.ContainerPort
		toHost := u.local[f.Forward.DstIP.String()] && f.Reverse.SrcIP.Equal(f.Forward.DstIP)
		if f.Forward.DstPort == m.Port && (toPod || toHost) {
			return true
		}
	}
	return false
}

// forgetFlows deletes the connection tracking entries of changed UDP hostPorts.
// UDP has no handshake: a client that keeps its socket would be sent to where
// the port led before for as long as it speaks.
func (n *Network) forgetFlows(changed []mapping) {
	u := udpFlows{local: map[string]bool{}}
	for _, m := range changed {
		if m.Protocol == corev1.ProtocolUDP {
			u.changed = append(u.changed, m)
		}
	}
	if len(u.changed) == 0 {
		return
	}
	addrs, err := whole(func() ([]netlink.Addr, error) { return n.nl.AddrList(nil, netlink.FAMILY_V4) })
	if err == nil {
		for _, a := range addrs {
			u.local[a.IP.String()] = true
		}
		err = inNetns(n.host, func() error {
			h, err := netlink.NewHandle(unix.NETLINK_NETFILTER)
			if err != nil {
				return err
			}
			defer h.Close()
			_, err = h.ConntrackDeleteFilters(netlink.ConntrackTable, unix.AF_INET, u)
			return err
		})
	}
	if err != nil {
		n.log.Warn("UDP flows to a changed hostPort go on to their old place until they time out", "error", err)
	}
}
