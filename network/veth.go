// SPDX-License-Identifier: Apache-2.0

package network

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// loopbackIndex is the kernel's fixed index of lo in every namespace.
const loopbackIndex = 1

// addVeth makes a veth pair whose host end is a port of the bridge and whose
// peer is the Pod's eth0, in one netlink request: no crash can leave a veth that
// is not on its bridge. Both ends are down.
func (n *Network) addVeth(name string, pod *os.File, mac net.HardwareAddr) error {
	sock, err := n.rawSocket()
	if err != nil {
		return err
	}
	defer sock.Close()
	req := nl.NewNetlinkRequest(unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL|unix.NLM_F_ACK)
	req.Sockets = map[int]*nl.SocketHandle{unix.NETLINK_ROUTE: {Socket: sock}}
	req.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
	req.AddData(nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(name)))
	req.AddData(nl.NewRtAttr(unix.IFLA_MTU, nl.Uint32Attr(uint32(n.cfg.MTU))))
	req.AddData(nl.NewRtAttr(unix.IFLA_MASTER, nl.Uint32Attr(uint32(n.bridge.Index))))
	info := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
	info.AddRtAttr(nl.IFLA_INFO_KIND, nl.NonZeroTerminated("veth"))
	peer := info.AddRtAttr(nl.IFLA_INFO_DATA, nil).AddRtAttr(nl.VETH_INFO_PEER, nil)
	nl.NewIfInfomsgChild(peer, unix.AF_UNSPEC)
	peer.AddRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(podInterface))
	peer.AddRtAttr(unix.IFLA_MTU, nl.Uint32Attr(uint32(n.cfg.MTU)))
	peer.AddRtAttr(unix.IFLA_ADDRESS, mac)
	peer.AddRtAttr(unix.IFLA_NET_NS_FD, nl.Uint32Attr(uint32(pod.Fd())))
	req.AddData(info)
	_, err = req.Execute(unix.NETLINK_ROUTE, 0)
	switch {
	case errors.Is(err, unix.EOPNOTSUPP):
		return fmt.Errorf("the kernel cannot make veth pairs (module \"veth\" is missing); run Pods with hostNetwork, or use a kernel with CONFIG_VETH: %w", err)
	case err != nil:
		return fmt.Errorf("make veth %s: %w", name, err)
	}
	return nil
}

// rawSocket opens a routing netlink socket on the host for one request.
func (n *Network) rawSocket() (s *nl.NetlinkSocket, err error) {
	err = inNetns(n.host, func() error {
		s, err = nl.GetNetlinkSocketAt(-1, -1, unix.NETLINK_ROUTE)
		return err
	})
	return s, err
}

// hostEnd labels the host end of a veth and brings it up.
func (n *Network) hostEnd(link netlink.Link, a alias) error {
	if err := n.nl.LinkSetAlias(link, a.String()); err != nil {
		return fmt.Errorf("ifalias of %s: %w", link.Attrs().Name, err)
	}
	noLinkLocal(n.nl, link)
	// Where br_netfilter is loaded (docker does), a frame whose destination a
	// hostPort rewrites to the very Pod that sent it is not routed but bridged
	// back, which a port refuses unless it is a hairpin.
	if err := n.nl.LinkSetHairpin(link, true); err != nil {
		return fmt.Errorf("hairpin mode of %s: %w", link.Attrs().Name, err)
	}
	if err := n.nl.LinkSetUp(link); err != nil {
		return fmt.Errorf("bring %s up: %w", link.Attrs().Name, err)
	}
	return nil
}

// podEnd gives eth0 its address and default route and brings lo and eth0 up.
// index is that of eth0 in the Pod's namespace.
func (n *Network) podEnd(h *netlink.Handle, index int, ip netip.Addr) error {
	lo := &netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: loopbackIndex}}
	if err := h.LinkSetUp(lo); err != nil {
		return fmt.Errorf("bring the Pod's lo up: %w", err)
	}
	eth := &netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: index}}
	noLinkLocal(h, eth)
	if err := h.AddrReplace(eth, addrOf(ip, n.subnet)); err != nil {
		return fmt.Errorf("address %s of the Pod's eth0: %w", ip, err)
	}
	if err := h.LinkSetUp(eth); err != nil {
		return fmt.Errorf("bring the Pod's eth0 up: %w", err)
	}
	if err := h.RouteReplace(&netlink.Route{LinkIndex: index, Gw: n.pool.gateway().AsSlice()}); err != nil {
		return fmt.Errorf("default route of the Pod: %w", err)
	}
	return nil
}

// complete reports whether a veth that was found is exactly what Attach makes:
// its peer is eth0 of this namespace, up, with the address and a default route.
func (n *Network) complete(link netlink.Link, h *netlink.Handle, ip netip.Addr) bool {
	host := link.Attrs()
	eth, err := h.LinkByName(podInterface)
	if err != nil || eth.Attrs().Index != host.ParentIndex || eth.Attrs().ParentIndex != host.Index {
		return false
	}
	if host.MasterIndex != n.bridge.Index || host.Flags&net.FlagUp == 0 || eth.Attrs().Flags&net.FlagUp == 0 {
		return false
	}
	if eth.Attrs().HardwareAddr.String() != macOf(ip).String() {
		return false
	}
	addrs, err := whole(func() ([]netlink.Addr, error) { return h.AddrList(eth, netlink.FAMILY_V4) })
	if err != nil {
		return false
	}
	hasAddr := false
	for _, a := range addrs {
		p, ok := prefixOf(a.IPNet)
		hasAddr = hasAddr || ok && p == netip.PrefixFrom(ip, n.subnet.Bits())
	}
	routes, err := whole(func() ([]netlink.Route, error) { return h.RouteList(eth, netlink.FAMILY_V4) })
	if err != nil || !hasAddr {
		return false
	}
	for _, r := range routes {
		if gw, ok := netip.AddrFromSlice(r.Gw); ok && gw.Unmap() == n.pool.gateway() {
			return true
		}
	}
	return false
}

// port is a host-side veth of this instance.
type port struct {
	Name  string
	Alias alias // the zero value when a crash came before it was labelled
}

// ports lists the veths of this instance that are on its bridge.
func (n *Network) ports() ([]port, error) {
	links, err := whole(n.nl.LinkList)
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return nil, fmt.Errorf("list the host's interfaces: %w", err)
	}
	prefix := vethPrefix(n.cfg.Bridge)
	var out []port
	for _, l := range links {
		a := l.Attrs()
		if n.bridge == nil || a.MasterIndex != n.bridge.Index || l.Type() != "veth" || !strings.HasPrefix(a.Name, prefix) {
			continue
		}
		p := port{Name: a.Name}
		if al, ok := parseAlias(a.Alias); ok && vethName(n.cfg.Bridge, al.UID) == a.Name {
			p.Alias = al
		}
		out = append(out, p)
	}
	return out, nil
}

// deleteLink deletes an interface of the host; one that is gone is no error.
func (n *Network) deleteLink(name string) error {
	link, err := n.nl.LinkByName(name)
	if err == nil {
		err = n.nl.LinkDel(link)
	}
	if err == nil || isNoLink(err) || errors.Is(err, unix.ENODEV) {
		return nil
	}
	return fmt.Errorf("delete interface %s: %w", name, err)
}

// noLinkLocal keeps an interface from getting an IPv6 link-local address, and
// with it duplicate detection, router solicitations and multicast reports. On a
// kernel without IPv6 there is nothing to keep it from.
func noLinkLocal(h *netlink.Handle, link netlink.Link) {
	const addrGenModeNone = 1 // IN6_ADDR_GEN_MODE_NONE
	_ = h.LinkSetIP6AddrGenMode(link, addrGenModeNone)
}
