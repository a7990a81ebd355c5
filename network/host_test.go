// SPDX-License-Identifier: Apache-2.0

package network

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
)

// Addresses of the stand-in for the world: the host's uplink and a machine
// beyond it that knows no Pod.
const (
	uplinkAddr   = "198.51.100.2"
	internetAddr = "198.51.100.1"
)

// netnsT is a network namespace of a test, held by a file descriptor.
type netnsT struct {
	*os.File
	path string
}

// newNetns makes a namespace with lo up; it ends with the test.
func newNetns(t testing.TB) netnsT {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	var f *os.File
	must(t, inNewNetns(func() (err error) {
		f, err = os.Open(threadNetns)
		return err
	}))
	t.Cleanup(func() { f.Close() })
	return netnsT{f, fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), f.Fd())}
}

func (n netnsT) handle(t testing.TB) *netlink.Handle {
	t.Helper()
	h, err := routeHandle(n.File)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	return h
}

// newHost makes a namespace that plays the host, with an uplink to one that
// plays the internet and a default route to it.
func newHost(t testing.TB) (host, internet netnsT) {
	t.Helper()
	host, internet = newNetns(t), newNetns(t)
	h, w := host.handle(t), internet.handle(t)
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "uplink"
	must(t, h.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "uplink", PeerNamespace: netlink.NsFd(internet.Fd())}))
	for _, end := range []struct {
		h    *netlink.Handle
		addr string
	}{{h, uplinkAddr}, {w, internetAddr}} {
		link, err := end.h.LinkByName("uplink")
		must(t, err)
		addr, err := netlink.ParseAddr(end.addr + "/24")
		must(t, err)
		must(t, end.h.AddrAdd(link, addr))
		must(t, end.h.LinkSetUp(link))
		lo, err := end.h.LinkByName("lo")
		must(t, err)
		must(t, end.h.LinkSetUp(lo))
	}
	must(t, h.RouteAdd(&netlink.Route{Gw: net.ParseIP(internetAddr)}))
	return host, internet
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// openTest opens a network on the test's host; it is closed, not destroyed: its
// namespace ends with the test.
func openTest(t testing.TB, host netnsT, cfg Config) *Network {
	t.Helper()
	cfg.Netns = host.path
	cfg.Logger = slog.New(slog.NewTextHandler(testWriter{t}, nil))
	n, err := Open(context.Background(), cfg)
	must(t, err)
	t.Cleanup(func() { n.Close() })
	return n
}

type testWriter struct{ t testing.TB }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Logf("log: %s", p)
	return len(p), nil
}

// podT is a Pod's namespace with its attachment.
type podT struct {
	netnsT
	Attachment
}

// attach makes a namespace and attaches it.
func attach(t testing.TB, n *Network, uid string, ports ...HostPort) podT {
	t.Helper()
	ns := newNetns(t)
	a, err := n.Attach(context.Background(), Request{UID: uid, Name: "default/" + uid, Netns: ns.path, HostPorts: ports})
	must(t, err)
	return podT{ns, a}
}

// serve answers every TCP connection to addr in the namespace with "<who> <the
// address it came from>".
func serve(t testing.TB, ns netnsT, who, addr string) {
	t.Helper()
	var l net.Listener
	must(t, inNetns(ns.File, func() (err error) {
		l, err = net.Listen("tcp4", addr)
		return err
	}))
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			from := c.RemoteAddr().(*net.TCPAddr).IP
			fmt.Fprintf(c, "%s %s", who, from)
			c.Close()
		}
	}()
}

// serveUDP is serve for datagrams.
func serveUDP(t testing.TB, ns netnsT, who, addr string) {
	t.Helper()
	var c net.PacketConn
	must(t, inNetns(ns.File, func() (err error) {
		c, err = net.ListenPacket("udp4", addr)
		return err
	}))
	t.Cleanup(func() { c.Close() })
	go func() {
		buf := make([]byte, 100)
		for {
			_, from, err := c.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _ = c.WriteTo(fmt.Appendf(nil, "%s %s", who, from.(*net.UDPAddr).IP), from)
		}
	}()
}

// ask connects from a namespace and returns the answer.
func ask(ns netnsT, network, addr string) (string, error) {
	var c net.Conn
	err := inNetns(ns.File, func() (err error) {
		c, err = net.DialTimeout(network, addr, 2*time.Second)
		return err
	})
	if err != nil {
		return "", err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(2 * time.Second)); err != nil {
		return "", err
	}
	if network == "udp4" {
		if _, err := c.Write([]byte("?")); err != nil {
			return "", err
		}
		buf := make([]byte, 100)
		n, err := c.Read(buf)
		return string(buf[:n]), err
	}
	data, err := io.ReadAll(c)
	return string(data), err
}

// wantAnswer asks and compares; an empty want means that nobody answers.
func wantAnswer(t testing.TB, ns netnsT, network, addr, want string) {
	t.Helper()
	got, err := ask(ns, network, addr)
	if want == "" {
		if err == nil {
			t.Errorf("%s %s: got answer %q, want none", network, addr, got)
		}
		return
	}
	if err != nil || got != want {
		t.Errorf("%s %s: got %q, %v; want %q", network, addr, got, err, want)
	}
}

func join(ip netip.Addr, port uint16) string { return netip.AddrPortFrom(ip, port).String() }

// linkNames lists the interfaces of a namespace.
func linkNames(t testing.TB, ns netnsT) map[string]bool {
	t.Helper()
	links, err := ns.handle(t).LinkList()
	must(t, err)
	out := map[string]bool{}
	for _, l := range links {
		out[l.Attrs().Name] = true
	}
	return out
}

// exchange sends a datagram and returns the answer.
func exchange(t testing.TB, c net.Conn) string {
	t.Helper()
	must(t, c.SetDeadline(time.Now().Add(2*time.Second)))
	_, err := c.Write([]byte("?"))
	must(t, err)
	buf := make([]byte, 100)
	n, err := c.Read(buf)
	if err != nil {
		return err.Error()
	}
	return string(buf[:n])
}

// routeTo is a route by a gateway that is on the link.
func routeTo(index int, dst string, gw netip.Addr) *netlink.Route {
	p := netip.MustParsePrefix(dst)
	return &netlink.Route{LinkIndex: index, Dst: addrOf(p.Addr(), p).IPNet, Gw: gw.AsSlice()}
}
