// SPDX-License-Identifier: Apache-2.0

package network

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/nftables"
	corev1 "k8s.io/api/core/v1"
)

// With br_netfilter, bridged frames pass the rules as well, and take another way
// through the kernel when their destination is rewritten.
func TestHostPorts(t *testing.T) {
	for _, value := range []string{"0", "1"} {
		t.Run("bridge-nf-call-iptables="+value, func(t *testing.T) {
			host, internet := newHost(t)
			err := inNetns(host.File, func() error {
				return os.WriteFile("/proc/sys/net/bridge/bridge-nf-call-iptables", []byte(value), 0)
			})
			if err != nil && value == "1" {
				t.Skipf("needs br_netfilter: %v", err)
			}
			testHostPorts(t, host, internet)
		})
	}
}

func testHostPorts(t *testing.T, host, internet netnsT) {
	ctx := context.Background()
	n := openTest(t, host, Config{})
	web := attach(t, n, "web",
		HostPort{Port: 8080, ContainerPort: 80},
		HostPort{Port: 5353, ContainerPort: 53, Protocol: corev1.ProtocolUDP},
		HostPort{Port: 9090, ContainerPort: 80, HostIP: netip.MustParseAddr("127.0.0.1")},
	)
	client := attach(t, n, "client")
	gw := n.Gateway().String()
	serve(t, web.netnsT, "web", "0.0.0.0:80")
	serveUDP(t, web.netnsT, "dns", "0.0.0.0:53")
	serve(t, host, "host-9090", uplinkAddr+":9090")

	cases := []struct {
		name    string
		from    netnsT
		network string
		addr    string
		want    string // "" for no answer
	}{
		{"host, loopback", host, "tcp4", "127.0.0.1:8080", "web " + gw},
		{"host, its own address", host, "tcp4", uplinkAddr + ":8080", "web " + uplinkAddr},
		{"host, gateway address", host, "tcp4", join(n.Gateway(), 8080), "web " + gw},
		{"outside", internet, "tcp4", uplinkAddr + ":8080", "web " + internetAddr},
		{"another Pod", client.netnsT, "tcp4", uplinkAddr + ":8080", "web " + gw},
		{"another Pod, gateway", client.netnsT, "tcp4", join(n.Gateway(), 8080), "web " + gw},
		{"the Pod itself", web.netnsT, "tcp4", uplinkAddr + ":8080", "web " + gw},
		{"UDP from the host's loopback", host, "udp4", "127.0.0.1:5353", "dns " + gw},
		{"UDP from outside", internet, "udp4", uplinkAddr + ":5353", "dns " + internetAddr},
		{"wrong protocol", internet, "tcp4", uplinkAddr + ":5353", ""},
		{"hostIP, its address", host, "tcp4", "127.0.0.1:9090", "web " + gw},
		{"hostIP, another address", internet, "tcp4", uplinkAddr + ":9090", "host-9090 " + internetAddr},
		{"another host's port", client.netnsT, "tcp4", internetAddr + ":8080", ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) { wantAnswer(t, c.from, c.network, c.addr, c.want) })
	}

	t.Run("route_localnet opens nothing to Pods", func(t *testing.T) {
		serve(t, host, "secret", "127.0.0.1:6443")
		h := client.handle(t)
		eth, err := h.LinkByName("eth0")
		must(t, err)
		// What a hostile Pod with NET_ADMIN would do: send loopback
		// destinations to the gateway.
		must(t, inNetns(client.File, func() error {
			return os.WriteFile("/proc/sys/net/ipv4/conf/eth0/route_localnet", []byte("1"), 0)
		}))
		lo, err := h.LinkByName("lo")
		must(t, err)
		must(t, h.AddrDel(lo, addrOf(netip.MustParseAddr("127.0.0.1"), netip.MustParsePrefix("127.0.0.0/8"))))
		must(t, h.RouteAdd(routeTo(eth.Attrs().Index, "127.0.0.1/32", n.Gateway())))
		wantAnswer(t, client.netnsT, "tcp4", "127.0.0.1:6443", "")
	})

	must(t, n.Detach(ctx, "web"))
	wantAnswer(t, host, "tcp4", "127.0.0.1:8080", "")
	wantAnswer(t, host, "udp4", "127.0.0.1:5353", "")

	// UDP flows have no end: a new owner must get what the old one got.
	again := attach(t, n, "again", HostPort{Port: 5353, ContainerPort: 53, Protocol: corev1.ProtocolUDP})
	serveUDP(t, again.netnsT, "again", "0.0.0.0:53")
	wantAnswer(t, internet, "udp4", uplinkAddr+":5353", "again "+internetAddr)
}

// A client that keeps its UDP socket, open since before there was a mapping,
// reaches the Pod that has the port now.
func TestUDPFlowsFollowTheMapping(t *testing.T) {
	ctx := context.Background()
	host, internet := newHost(t)
	n := openTest(t, host, Config{})
	var c net.Conn
	must(t, inNetns(internet.File, func() (err error) {
		c, err = net.Dial("udp4", uplinkAddr+":5353")
		return err
	}))
	defer c.Close()
	exchange(t, c) // nobody answers: the flow is the host's now
	for _, uid := range []string{"first", "second"} {
		p := attach(t, n, uid, HostPort{Port: 5353, ContainerPort: 53, Protocol: corev1.ProtocolUDP})
		serveUDP(t, p.netnsT, uid, "0.0.0.0:53")
		if got := exchange(t, c); got != uid+" "+internetAddr {
			t.Errorf("got %q, want an answer of %s", got, uid)
		}
		must(t, n.Detach(ctx, uid))
	}
}

func TestTakenPortsAreRefused(t *testing.T) {
	ctx := context.Background()
	host, _ := newHost(t)
	n := openTest(t, host, Config{})
	any := HostPort{Port: 8080, ContainerPort: 80}
	attach(t, n, "owner", any, HostPort{Port: 9090, ContainerPort: 80, HostIP: netip.MustParseAddr("127.0.0.1")})
	serve(t, host, "sshd", "0.0.0.0:22")
	serve(t, host, "local", "127.0.0.1:631")
	serveUDP(t, host, "dns", "0.0.0.0:53")
	must(t, inNetns(host.File, func() error {
		l, err := net.Listen("tcp", "[::]:2222")
		if err == nil {
			t.Cleanup(func() { l.Close() })
		}
		return err
	}))
	uplink := netip.MustParseAddr(uplinkAddr)

	for _, c := range []struct {
		name  string
		port  HostPort
		taken string // part of the error; "" for none
	}{
		{"another Pod", any, "pod default/owner"},
		{"another Pod, one address of all", HostPort{Port: 8080, ContainerPort: 1, HostIP: uplink}, "pod default/owner"},
		{"another Pod, all addresses of which one", HostPort{Port: 9090, ContainerPort: 1}, "pod default/owner"},
		{"other address", HostPort{Port: 9090, ContainerPort: 1, HostIP: uplink}, ""},
		{"other protocol", HostPort{Port: 8080, ContainerPort: 80, Protocol: corev1.ProtocolUDP}, ""},
		{"process", HostPort{Port: 22, ContainerPort: 80}, "(network.test)"},
		{"process, one address", HostPort{Port: 22, ContainerPort: 80, HostIP: uplink}, "(network.test)"},
		{"process on loopback", HostPort{Port: 631, ContainerPort: 80}, "127.0.0.1:631"},
		{"process on another address", HostPort{Port: 631, ContainerPort: 80, HostIP: uplink}, ""},
		{"process on IPv6 wildcard", HostPort{Port: 2222, ContainerPort: 80}, "(network.test)"},
		{"UDP socket", HostPort{Port: 53, ContainerPort: 53, Protocol: corev1.ProtocolUDP}, "(network.test)"},
		{"UDP socket, but TCP wanted", HostPort{Port: 53, ContainerPort: 53}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := n.Attach(ctx, Request{UID: "late", Name: "default/late", Netns: newNetns(t).path, HostPorts: []HostPort{c.port}})
			if c.taken == "" {
				must(t, err)
			} else if !errors.Is(err, ErrPortTaken) || !strings.Contains(err.Error(), c.taken) || !strings.Contains(err.Error(), "default/late") {
				t.Errorf("got %v, want an error that names default/late and %q", err, c.taken)
			} else if linkNames(t, host)[vethName(n.Bridge(), "late")] {
				t.Error("the refused Attach left a veth")
			}
			must(t, n.Detach(ctx, "late"))
		})
	}

	_, err := n.Attach(ctx, Request{UID: "twice", Netns: newNetns(t).path, HostPorts: []HostPort{{Port: 1, ContainerPort: 1}, {Port: 1, ContainerPort: 2}}})
	if !errors.Is(err, ErrPortTaken) {
		t.Errorf("a port twice in one Pod: got %v", err)
	}
}

// A Pod that is attached keeps its network when a second Attach asks for a port
// that is taken.
func TestRefusedReattachChangesNothing(t *testing.T) {
	host, _ := newHost(t)
	n := openTest(t, host, Config{})
	attach(t, n, "owner", HostPort{Port: 8080, ContainerPort: 80})
	p := attach(t, n, "pod", HostPort{Port: 8081, ContainerPort: 80})
	serve(t, p.netnsT, "pod", "0.0.0.0:80")
	_, err := n.Attach(context.Background(), Request{UID: "pod", Netns: p.path, HostPorts: []HostPort{{Port: 8080, ContainerPort: 80}}})
	if !errors.Is(err, ErrPortTaken) {
		t.Fatalf("got %v", err)
	}
	wantAnswer(t, host, "tcp4", uplinkAddr+":8081", "pod "+uplinkAddr)
}

func TestRemovedTableComesBack(t *testing.T) {
	host, internet := newHost(t)
	serve(t, internet, "internet", internetAddr+":80")
	n := openTest(t, host, Config{})
	p := attach(t, n, "pod", HostPort{Port: 8080, ContainerPort: 80})
	serve(t, p.netnsT, "pod", "0.0.0.0:80")
	flush := func() {
		c, err := nftables.New(nftables.WithNetNSFd(int(host.Fd())))
		must(t, err)
		c.FlushRuleset()
		must(t, c.Flush())
	}
	flush()
	wantAnswer(t, host, "tcp4", uplinkAddr+":8080", "")
	attach(t, n, "next")
	wantAnswer(t, host, "tcp4", uplinkAddr+":8080", "pod "+uplinkAddr)
	wantAnswer(t, p.netnsT, "tcp4", internetAddr+":80", "internet "+uplinkAddr)

	flush()
	must(t, n.Detach(context.Background(), "pod"))
	flush()
	// An agent that starts after the flush maps the ports again when it attaches
	// its Pods again.
	n = openTest(t, host, Config{})
	q := attach(t, n, "next", HostPort{Port: 8082, ContainerPort: 80})
	serve(t, q.netnsT, "next", "0.0.0.0:80")
	wantAnswer(t, host, "tcp4", "127.0.0.1:8082", "next "+n.Gateway().String())
}

func TestForeignDropPolicyIsWarnedAbout(t *testing.T) {
	host, _ := newHost(t)
	c, err := nftables.New(nftables.WithNetNSFd(int(host.Fd())))
	must(t, err)
	table := c.AddTable(&nftables.Table{Family: nftables.TableFamilyIPv4, Name: "filter"})
	drop := nftables.ChainPolicyDrop
	c.AddChain(&nftables.Chain{Table: table, Name: "FORWARD", Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookForward, Priority: nftables.ChainPriorityFilter, Policy: &drop})
	must(t, c.Flush())
	n := openTest(t, host, Config{})
	w := n.Warnings()
	if len(w) != 1 || w[0].OK || !strings.Contains(w[0].Remedy, n.Bridge()) || !strings.Contains(w[0].Consequence, "ip filter FORWARD") {
		t.Errorf("warnings: %+v", w)
	}
}

// Without nftables Pods are attached all the same, but not with hostPorts.
func TestWithoutNFTables(t *testing.T) {
	host, _ := newHost(t)
	n := openTest(t, host, Config{})
	n.nat = nil
	a, b := attach(t, n, "a"), attach(t, n, "b")
	serve(t, b.netnsT, "b", "0.0.0.0:80")
	wantAnswer(t, a.netnsT, "tcp4", join(b.IP, 80), "b "+a.IP.String())
	_, err := n.Attach(context.Background(), Request{UID: "c", Netns: newNetns(t).path, HostPorts: []HostPort{{Port: 1, ContainerPort: 1}}})
	if err == nil || !strings.Contains(err.Error(), "nftables") {
		t.Errorf("hostPort: got %v", err)
	}
	must(t, n.Detach(context.Background(), "a"))
}

func TestHostPortsOfASpec(t *testing.T) {
	always := corev1.ContainerRestartPolicyAlways
	spec := &corev1.PodSpec{
		InitContainers: []corev1.Container{
			{Ports: []corev1.ContainerPort{{HostPort: 1, ContainerPort: 1}}},
			{RestartPolicy: &always, Ports: []corev1.ContainerPort{{HostPort: 2, ContainerPort: 20}}},
		},
		Containers: []corev1.Container{
			{Ports: []corev1.ContainerPort{{ContainerPort: 3}, {HostPort: 4, ContainerPort: 40, HostIP: "0.0.0.0", Protocol: corev1.ProtocolUDP}}},
			{Ports: []corev1.ContainerPort{{HostPort: 5, ContainerPort: 50, HostIP: "192.0.2.7"}}},
		},
	}
	got, err := HostPorts(spec)
	must(t, err)
	want := []HostPort{
		{Protocol: corev1.ProtocolTCP, Port: 2, ContainerPort: 20},
		{Protocol: corev1.ProtocolUDP, Port: 4, ContainerPort: 40},
		{Protocol: corev1.ProtocolTCP, Port: 5, ContainerPort: 50, HostIP: netip.MustParseAddr("192.0.2.7")},
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	for _, bad := range []corev1.ContainerPort{
		{HostPort: 1, ContainerPort: 1, HostIP: "nonsense"},
		{HostPort: 1, ContainerPort: 1, HostIP: "2001:db8::1"},
		{HostPort: 1, ContainerPort: 1, Protocol: "ICMP"},
	} {
		spec.Containers[1].Ports[0] = bad
		if _, err := HostPorts(spec); err == nil || !strings.HasPrefix(err.Error(), "spec.containers[1].ports[0]") {
			t.Errorf("%+v: got %v, want an error with the field's path", bad, err)
		}
	}
	spec.HostNetwork = true
	if got, err := HostPorts(spec); err != nil || got != nil {
		t.Errorf("hostNetwork: got %v, %v", got, err)
	}
}
