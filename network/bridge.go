// SPDX-License-Identifier: Apache-2.0

package network

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// defaultMTU is that of Ethernet.
const defaultMTU = 1500

// openBridge finds or makes the bridge, settles the subnet and puts the gateway
// address on the bridge.
func (n *Network) openBridge() error {
	routes, err := n.hostRoutes()
	if err != nil {
		return err
	}
	link, err := n.bridgeLink()
	if err != nil {
		return err
	}
	if link == nil {
		if n.subnet, err = n.newSubnet(routes); err != nil {
			return err
		}
		if link, err = n.addBridge(); err != nil {
			return err
		}
	}
	n.bridge = link
	if n.subnet, err = n.settleSubnet(routes); err != nil {
		return err
	}
	if n.cfg.MTU == 0 {
		n.cfg.MTU = n.uplinkMTU()
	}
	gateway := newPool(n.subnet).gateway()
	// A bridge without an address of its own takes the lowest of its ports', so
	// that the gateway's would change as Pods come and go.
	if mac := macOf(gateway); link.HardwareAddr.String() != mac.String() {
		if err := n.nl.LinkSetHardwareAddr(link, mac); err != nil {
			return fmt.Errorf("hardware address of the bridge: %w", err)
		}
	}
	if err := n.nl.AddrReplace(link, addrOf(gateway, n.subnet)); err != nil {
		return fmt.Errorf("gateway address %s: %w", gateway, err)
	}
	noLinkLocal(n.nl, link)
	if err := n.nl.LinkSetUp(link); err != nil {
		return fmt.Errorf("bring the bridge up: %w", err)
	}
	return nil
}

// bridgeLink returns the bridge, or nil when there is none. Something else of
// its name is an error: it is not ours to replace.
func (n *Network) bridgeLink() (*netlink.Bridge, error) {
	link, err := n.nl.LinkByName(n.cfg.Bridge)
	if isNoLink(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look for the bridge: %w", err)
	}
	b, ok := link.(*netlink.Bridge)
	if !ok {
		return nil, fmt.Errorf("the host already has an interface of this name, a %s; choose another bridge name or node name", link.Type())
	}
	return b, nil
}

// addBridge makes the bridge. Multicast snooping is off: it costs timers, and
// without a querier on the link it loses what it should not.
func (n *Network) addBridge() (*netlink.Bridge, error) {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = n.cfg.Bridge
	attrs.HardwareAddr = macOf(newPool(n.subnet).gateway())
	snooping := false
	err := n.nl.LinkAdd(&netlink.Bridge{LinkAttrs: attrs, MulticastSnooping: &snooping})
	if errors.Is(err, unix.EOPNOTSUPP) {
		return nil, fmt.Errorf("the kernel cannot make bridges (module \"bridge\" is missing); run Pods with hostNetwork, or use a kernel with CONFIG_BRIDGE: %w", err)
	}
	if err != nil {
		return nil, fmt.Errorf("make the bridge: %w", err)
	}
	link, err := n.bridgeLink()
	if err == nil && link == nil {
		err = errors.New("the bridge vanished right after it was made")
	}
	return link, err
}

// newSubnet is the configured subnet if nothing on the host overlaps it, else a
// derived one.
func (n *Network) newSubnet(routes []hostRoute) (netip.Prefix, error) {
	taken := make([]netip.Prefix, len(routes))
	for i, r := range routes {
		taken[i] = r.dst
	}
	if !n.cfg.Subnet.IsValid() {
		return chooseSubnet(n.cfg.Name, taken)
	}
	if err := checkSubnet(n.cfg.Subnet); err != nil {
		return netip.Prefix{}, err
	}
	for _, r := range routes {
		if r.dst.Overlaps(n.cfg.Subnet) {
			return netip.Prefix{}, fmt.Errorf("pod subnet %s overlaps the host's route to %s on %s; choose another --pod-subnet", n.cfg.Subnet, r.dst, r.device)
		}
	}
	return n.cfg.Subnet, nil
}

// settleSubnet decides between the configured subnet and the one that an
// existing bridge has. Attached Pods keep theirs: changing it under them is
// refused.
func (n *Network) settleSubnet(routes []hostRoute) (netip.Prefix, error) {
	addrs, err := whole(func() ([]netlink.Addr, error) { return n.nl.AddrList(n.bridge, netlink.FAMILY_V4) })
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("addresses of the bridge: %w", err)
	}
	for _, a := range addrs {
		have, ok := prefixOf(a.IPNet)
		if !ok {
			continue
		}
		have = have.Masked()
		if checkSubnet(have) == nil && (!n.cfg.Subnet.IsValid() || n.cfg.Subnet == have) {
			return have, nil
		}
		ports, err := n.ports()
		if err != nil {
			return netip.Prefix{}, err
		}
		if len(ports) > 0 {
			return netip.Prefix{}, fmt.Errorf("the bridge has the subnet %s with %d Pods on it, but --pod-subnet says %s; stop the Pods first (minikubelet stop --pods) or keep the subnet", have, len(ports), n.cfg.Subnet)
		}
		if err := n.nl.AddrDel(n.bridge, &a); err != nil {
			return netip.Prefix{}, fmt.Errorf("remove the earlier gateway address %s: %w", a.IPNet, err)
		}
	}
	if n.subnet.IsValid() {
		return n.subnet, nil // chosen a moment ago
	}
	return n.newSubnet(routes)
}

// hostRoute is one route of the host, for the search of a free subnet.
type hostRoute struct {
	dst    netip.Prefix
	device string
}

// hostRoutes lists the destinations that the host knows, in all tables, except
// those on our own bridge and default routes (VPNs split them into two halves).
func (n *Network) hostRoutes() ([]hostRoute, error) {
	routes, err := n.routes(unix.RT_TABLE_UNSPEC)
	if err != nil {
		return nil, fmt.Errorf("list the host's routes: %w", err)
	}
	names := map[int]string{}
	var out []hostRoute
	for _, r := range routes {
		dst, ok := prefixOf(r.Dst)
		if !ok || dst.Bits() < 4 {
			continue
		}
		if _, seen := names[r.LinkIndex]; !seen && r.LinkIndex != 0 {
			names[r.LinkIndex] = fmt.Sprintf("interface %d", r.LinkIndex)
			if l, err := n.nl.LinkByIndex(r.LinkIndex); err == nil {
				names[r.LinkIndex] = l.Attrs().Name
			}
		}
		if names[r.LinkIndex] != n.cfg.Bridge {
			out = append(out, hostRoute{dst.Masked(), names[r.LinkIndex]})
		}
	}
	return out, nil
}

// routes are the host's in a table, RT_TABLE_UNSPEC for all tables.
func (n *Network) routes(table int) ([]netlink.Route, error) {
	return whole(func() ([]netlink.Route, error) {
		return n.nl.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Table: table}, netlink.RT_FILTER_TABLE)
	})
}

// uplinkMTU is the MTU of the interface of the host's default route.
func (n *Network) uplinkMTU() int {
	if l := n.uplink(); l != nil && l.Attrs().MTU >= 576 {
		return l.Attrs().MTU
	}
	return defaultMTU
}

// uplink is the interface of the host's default route; nil without one.
func (n *Network) uplink() netlink.Link {
	routes, err := n.routes(unix.RT_TABLE_MAIN)
	if err != nil {
		return nil
	}
	for _, r := range routes {
		if r.Dst != nil && !r.Dst.IP.IsUnspecified() {
			continue
		}
		if l, err := n.nl.LinkByIndex(r.LinkIndex); err == nil {
			return l
		}
	}
	return nil
}

// forwardIPv4 turns on forwarding, without which Pods reach only each other and
// the host.
func (n *Network) forwardIPv4() {
	if err := n.setSysctl("net/ipv4/ip_forward", "1"); err != nil {
		n.warnings = append(n.warnings, noForwarding(err))
	}
}

// setSysctl writes a sysctl in the host's namespace unless it already has the
// value.
func (n *Network) setSysctl(name, value string) error {
	path := filepath.Join("/proc/sys", name)
	return inNetns(n.host, func() error {
		old, err := os.ReadFile(path)
		if err == nil && strings.TrimSpace(string(old)) == value {
			return nil
		}
		return os.WriteFile(path, []byte(value), 0)
	})
}

func prefixOf(p *net.IPNet) (netip.Prefix, bool) {
	if p == nil {
		return netip.Prefix{}, false
	}
	a, ok := netip.AddrFromSlice(p.IP)
	bits, _ := p.Mask.Size()
	return netip.PrefixFrom(a.Unmap(), bits), ok && a.Unmap().Is4()
}

func addrOf(ip netip.Addr, subnet netip.Prefix) *netlink.Addr {
	return &netlink.Addr{IPNet: &net.IPNet{IP: ip.AsSlice(), Mask: net.CIDRMask(subnet.Bits(), ip.BitLen())}}
}

func isNoLink(err error) bool {
	var none netlink.LinkNotFoundError
	return errors.As(err, &none)
}
