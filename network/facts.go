// SPDX-License-Identifier: Apache-2.0

package network

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func noNFTables(err error) Fact {
	return Fact{
		Name:        "nftables",
		Consequence: fmt.Sprintf("Pods reach each other and the host, but nothing beyond it, and hostPorts are refused (%v)", err),
		Remedy:      "use a kernel with CONFIG_NF_TABLES, CONFIG_NFT_NAT, CONFIG_NFT_MASQ and CONFIG_NFT_FIB_IPV4 (modprobe nf_tables), or run Pods with hostNetwork",
	}
}

func noForwarding(err error) Fact {
	return Fact{
		Name:        "ip_forward",
		Consequence: fmt.Sprintf("Pods reach each other and the host, but nothing beyond it (%v)", err),
		Remedy:      "sysctl -w net.ipv4.ip_forward=1, or make /proc/sys writable for the agent",
	}
}

// warnForeignDrop warns about firewalls that drop forwarded packets by default,
// as docker's does.
func (n *Network) warnForeignDrop() {
	if n.nat == nil {
		return
	}
	chains, err := n.nat.droppingForwards()
	if err != nil || len(chains) == 0 {
		return
	}
	first := chains[0]
	if strings.HasPrefix(first, "ip filter FORWARD") {
		first = "ip filter FORWARD (docker reads DOCKER-USER first)"
	}
	n.warnings = append(n.warnings, Fact{
		Name:        "forwarding",
		Consequence: fmt.Sprintf("another firewall drops forwarded packets unless it has a rule for them, so Pods may reach nothing beyond this host (nftables chain %s)", strings.Join(chains, ", ")),
		Remedy:      fmt.Sprintf("accept input and output interface %q in %s", n.cfg.Bridge, first),
	})
}

// Probe tries in a network namespace of its own what this package needs of the
// machine, and reads the host's forwarding setting. It changes nothing.
func Probe() []Fact {
	facts := []Fact{
		{Name: "network namespaces", Consequence: "only Pods with hostNetwork can run", Remedy: "run as root, on a kernel with CONFIG_NET_NS"},
		{Name: "bridge", Consequence: "only Pods with hostNetwork can run", Remedy: "use a kernel with CONFIG_BRIDGE (modprobe bridge)"},
		{Name: "veth", Consequence: "only Pods with hostNetwork can run", Remedy: "use a kernel with CONFIG_VETH (modprobe veth)"},
		noNFTables(errors.New("not tried")),
		probeForwarding(),
	}
	err := inNewNetns(func() error {
		facts[0] = Fact{Name: facts[0].Name, OK: true}
		probeLinks(facts[1:3])
		if err := probeNFTables(); err != nil {
			facts[3] = noNFTables(err)
		} else {
			facts[3] = Fact{Name: facts[3].Name, OK: true}
		}
		return nil
	})
	if err != nil {
		facts[0].Consequence += fmt.Sprintf(" (%v)", err)
	}
	return facts
}

// probeLinks tries a bridge and a veth pair in the thread's namespace.
func probeLinks(facts []Fact) {
	bridge, veth := netlink.NewLinkAttrs(), netlink.NewLinkAttrs()
	bridge.Name, veth.Name = "br", "a"
	for i, l := range []netlink.Link{&netlink.Bridge{LinkAttrs: bridge}, &netlink.Veth{LinkAttrs: veth, PeerName: "b"}} {
		h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
		if err != nil {
			return
		}
		if err := h.LinkAdd(l); err != nil {
			facts[i].Consequence += fmt.Sprintf(" (%v)", err)
		} else {
			facts[i] = Fact{Name: facts[i].Name, OK: true}
		}
		h.Close()
	}
}

// probeNFTables tries the whole table in the thread's namespace.
func probeNFTables() error {
	ns, err := openNetns(threadNetns)
	if err != nil {
		return err
	}
	defer ns.Close()
	_, err = openNAT(ns, tablePrefix+"probe", "br", netip.MustParsePrefix("10.208.0.0/22"), func(mapping) bool { return false })
	return err
}

// probeForwarding: the agent turns forwarding on, so off is fine where that can
// be done.
func probeForwarding() Fact {
	const path = "/proc/sys/net/ipv4/ip_forward"
	v, err := os.ReadFile(path)
	if err == nil && strings.TrimSpace(string(v)) == "1" {
		return Fact{Name: "ip_forward", OK: true}
	}
	if err := unix.Access(path, unix.W_OK); err != nil {
		return noForwarding(err)
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(path, &fs); err == nil && fs.Flags&unix.ST_RDONLY != 0 {
		return noForwarding(unix.EROFS)
	}
	return Fact{Name: "ip_forward", OK: true}
}
