// SPDX-License-Identifier: Apache-2.0

package network

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
)

// TestHostIPIsFollowed goes through what happens to an edge node's address: DHCP brings
// it late and changes it, a second uplink takes over, and all is lost.
func TestHostIPIsFollowed(t *testing.T) {
	host := newNetns(t)
	h := host.handle(t)
	hostIP := func() (ip netip.Addr) {
		must(t, inNetns(host.File, func() error {
			ip, _ = HostIP()
			return nil
		}))
		return ip
	}
	// after makes a change of which only a new follower tells, and looks at the address
	// only when it does.
	after := func(what string, change func(), want string) {
		t.Helper()
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		news, ended := make(chan struct{}, 1), make(chan error, 1)
		go func() {
			ended <- inNetns(host.File, func() error {
				return FollowHostIP(ctx, func() {
					select {
					case news <- struct{}{}:
					default:
					}
				})
			})
		}()
		patience := time.After(10 * time.Second)
		await := func() {
			t.Helper()
			select {
			case <-news:
			case err := <-ended:
				t.Fatalf("%s: following ended: %v", what, err)
			case <-patience:
				t.Fatalf("%s: no news; the address is %v, want %s", what, hostIP(), want)
			}
		}
		await() // it follows
		change()
		for await(); hostIP() != netip.MustParseAddr(want); {
			await()
		}
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("%s: following ended with %v", what, err)
		}
	}
	address := func(text string) *netlink.Addr {
		addr, err := netlink.ParseAddr(text)
		must(t, err)
		return addr
	}
	route := func(link netlink.Link, metric int) {
		t.Helper()
		everywhere := &net.IPNet{IP: net.IPv4zero, Mask: net.CIDRMask(0, 32)}
		must(t, h.RouteReplace(&netlink.Route{LinkIndex: link.Attrs().Index, Dst: everywhere, Scope: netlink.SCOPE_LINK, Priority: metric}))
	}
	uplink := func(name, addr string) netlink.Link {
		t.Helper()
		attrs := netlink.NewLinkAttrs()
		attrs.Name = name
		must(t, h.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}))
		link, err := h.LinkByName(name)
		must(t, err)
		must(t, h.AddrAdd(link, address(addr)))
		must(t, h.LinkSetUp(link))
		return link
	}
	if ip := hostIP(); ip.IsValid() {
		t.Fatalf("no network: %v", ip)
	}
	wired := uplink("wired", "198.51.100.2/24")
	after("DHCP has answered", func() { route(wired, 100) }, "198.51.100.2")
	route(uplink("wireless", "203.0.113.2/24"), 200)
	after("the first uplink is down", func() { must(t, h.LinkSetDown(wired)) }, "203.0.113.2")
	must(t, h.LinkSetUp(wired))
	after("it is up again", func() { route(wired, 100) }, "198.51.100.2")
	after("its lease is over", func() { must(t, h.AddrDel(wired, address("198.51.100.2/24"))) }, "203.0.113.2")
	must(t, h.AddrAdd(wired, address("198.51.100.3/24")))
	after("another lease", func() { route(wired, 100) }, "198.51.100.3")
}
