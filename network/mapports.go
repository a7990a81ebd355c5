// SPDX-License-Identifier: Apache-2.0

package network

import (
	"fmt"
	"slices"
)

// repairNAT makes the table again when someone removed it.
func (n *Network) repairNAT() {
	if n.nat == nil {
		return
	}
	ok, err := n.nat.present()
	if ok || err != nil {
		return // an error shows where it matters: when hostPorts change
	}
	n.log.Warn("the nftables table was removed by someone else; making it again", "table", n.nat.name)
	if err := n.nat.rebuild(); err != nil {
		n.log.Error("nftables table not made again: Pods do not reach beyond this host", "table", n.nat.name, "error", err)
	}
}

// checkPorts refuses hostPorts that another Pod has, here or in another
// instance, or that a process of the host listens on.
func (n *Network) checkPorts(r Request, want []HostPort) error {
	if len(want) == 0 {
		return nil
	}
	if n.nat == nil {
		return fmt.Errorf("hostPort %s: not possible without nftables on this kernel; use hostNetwork instead, or a kernel with CONFIG_NF_TABLES and CONFIG_NFT_NAT", want[0])
	}
	var fresh []HostPort
	for _, p := range want {
		mine := false
		for _, m := range n.nat.mappings {
			if !m.Overlaps(p) || !n.isAttached(m) {
				continue
			}
			if m.UID != r.UID {
				return fmt.Errorf("%w: pod %s wants hostPort %s, which pod %s (%s) has", ErrPortTaken, r.label(), p, n.podLabel(m.UID), m.IP)
			}
			mine = true
		}
		if !mine {
			fresh = append(fresh, p)
		}
	}
	if len(fresh) == 0 {
		return nil
	}
	others, err := n.nat.others()
	if err != nil {
		return err
	}
	for _, p := range fresh {
		for table, ms := range others {
			for _, m := range ms {
				if m.Overlaps(p) {
					return fmt.Errorf("%w: pod %s wants hostPort %s, which pod %s (%s) of another agent has (nftables table %s)", ErrPortTaken, r.label(), p, m.UID, m.IP, table)
				}
			}
		}
	}
	return n.checkListeners(r, fresh)
}

// podLabel names a Pod for people.
func (n *Network) podLabel(uid string) string {
	if a, ok := n.pods[uid]; ok && a.Name != "" {
		return a.Name
	}
	return uid
}

// mapPorts makes the Pod's mappings exactly those wanted, and drops mappings to
// its address that an earlier owner left.
func (n *Network) mapPorts(a Attachment, want []HostPort) error {
	if n.nat == nil {
		return nil
	}
	var remove, add []mapping
	for _, m := range n.nat.mappings {
		mine := m.UID == a.UID && m.IP == a.IP && slices.Contains(want, m.HostPort)
		stale := m.UID == a.UID || m.IP == a.IP || !n.isAttached(m)
		if !mine && stale {
			remove = append(remove, m)
		}
	}
	for _, p := range want {
		if m := (mapping{p, a.IP, a.UID}); !slices.Contains(n.nat.mappings, m) {
			add = append(add, m)
		}
	}
	if len(add) > 0 {
		n.routeLoopback()
	}
	return n.changePorts(remove, add)
}

// unmapPorts removes the Pod's mappings.
func (n *Network) unmapPorts(uid string) error {
	if n.nat == nil {
		return nil
	}
	var remove []mapping
	for _, m := range n.nat.mappings {
		if m.UID == uid {
			remove = append(remove, m)
		}
	}
	return n.changePorts(remove, nil)
}

// dropOrphanPorts removes the mappings of Pods that are not attached.
func (n *Network) dropOrphanPorts() error {
	if n.nat == nil {
		return nil
	}
	var remove []mapping
	for _, m := range n.nat.mappings {
		if !n.isAttached(m) {
			remove = append(remove, m)
		}
	}
	return n.changePorts(remove, nil)
}

// changePorts changes the table and lets UDP flows take notice.
func (n *Network) changePorts(remove, add []mapping) error {
	if err := n.nat.change(remove, add); err != nil {
		return err
	}
	n.forgetFlows(append(remove, add...))
	return nil
}

// routeLoopback lets connections to 127.0.0.1 on the host be sent to Pods, by
// net.ipv4.conf.<bridge>.route_localnet. The guard chain keeps Pods from
// reaching the host's loopback by it. It is on only where hostPorts are used.
func (n *Network) routeLoopback() {
	err := n.setSysctl("net/ipv4/conf/"+n.cfg.Bridge+"/route_localnet", "1")
	if err != nil {
		n.log.Warn("hostPorts cannot be reached by 127.0.0.1 on the host, only by its other addresses", "error", err)
	}
}
