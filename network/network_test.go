// SPDX-License-Identifier: Apache-2.0

package network

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sync/errgroup"
)

func TestPodsReachEachOtherTheHostAndBeyond(t *testing.T) {
	host, internet := newHost(t)
	n := openTest(t, host, Config{})
	if w := n.Warnings(); len(w) > 0 {
		t.Fatalf("warnings: %+v", w)
	}
	a, b := attach(t, n, "pod-a"), attach(t, n, "pod-b")
	serve(t, internet, "internet", internetAddr+":80")
	serve(t, host, "host", "0.0.0.0:80")
	serve(t, host, "secret", "127.0.0.1:81")
	serve(t, b.netnsT, "b", "0.0.0.0:80")
	serve(t, b.netnsT, "b-loopback", "127.0.0.1:82")

	wantAnswer(t, a.netnsT, "tcp4", join(b.IP, 80), "b "+a.IP.String())
	wantAnswer(t, a.netnsT, "tcp4", join(n.Gateway(), 80), "host "+a.IP.String())
	wantAnswer(t, host, "tcp4", join(b.IP, 80), "b "+n.Gateway().String())
	wantAnswer(t, a.netnsT, "tcp4", internetAddr+":80", "internet "+uplinkAddr)
	wantAnswer(t, b.netnsT, "tcp4", "127.0.0.1:82", "b-loopback 127.0.0.1")
	for _, other := range []netnsT{a.netnsT, host} {
		wantAnswer(t, other, "tcp4", "127.0.0.1:82", "")
	}
	wantAnswer(t, a.netnsT, "tcp4", "127.0.0.1:81", "")
}

func TestAttachIsIdempotentAndReopenFindsAllocations(t *testing.T) {
	ctx := context.Background()
	host, _ := newHost(t)
	n := openTest(t, host, Config{Name: "node-x"})
	a, b := attach(t, n, "pod-a"), attach(t, n, "pod-b", HostPort{Port: 8080, ContainerPort: 80})
	again, err := n.Attach(ctx, Request{UID: "pod-a", Netns: a.path})
	must(t, err)
	if again != a.Attachment {
		t.Errorf("second Attach: got %+v, want %+v", again, a.Attachment)
	}
	must(t, n.Close())

	n = openTest(t, host, Config{Name: "node-x"})
	found, err := n.Attached()
	must(t, err)
	if len(found) != 2 {
		t.Fatalf("after reopening: %+v, want two Pods", found)
	}
	for _, f := range found {
		if want := map[string]Attachment{"pod-a": a.Attachment, "pod-b": b.Attachment}[f.UID]; f != want {
			t.Errorf("after reopening: got %+v, want %+v", f, want)
		}
	}
	if len(n.nat.mappings) != 1 || n.nat.mappings[0].UID != "pod-b" {
		t.Errorf("hostPorts after reopening: %+v", n.nat.mappings)
	}
	serve(t, b.netnsT, "b", "0.0.0.0:80")
	wantAnswer(t, host, "tcp4", uplinkAddr+":8080", "b "+uplinkAddr)
	c := attach(t, n, "pod-c")
	if c.IP == a.IP || c.IP == b.IP {
		t.Errorf("address %s was given twice", c.IP)
	}
	wantAnswer(t, c.netnsT, "tcp4", join(b.IP, 80), "b "+c.IP.String())
}

// Each case is what a crash, or someone else's hand, left of an Attach.
func TestAttachFinishesWhatIsHalfMade(t *testing.T) {
	ctx := context.Background()
	host, _ := newHost(t)
	n := openTest(t, host, Config{})
	probe := attach(t, n, "probe")
	serve(t, probe.netnsT, "probe", "0.0.0.0:80")
	hostNL := host.handle(t)
	eth := func(t *testing.T, p podT) (*netlink.Handle, netlink.Link) {
		h := p.handle(t)
		l, err := h.LinkByName("eth0")
		must(t, err)
		return h, l
	}
	for name, breakIt := range map[string]func(t *testing.T, p podT){
		"veth made, nothing else": func(t *testing.T, p podT) {
			must(t, n.deleteLink(p.Interface))
			must(t, n.addVeth(p.Interface, p.File, macOf(p.IP)))
		},
		"no address": func(t *testing.T, p podT) {
			h, l := eth(t, p)
			must(t, h.AddrDel(l, addrOf(p.IP, n.subnet)))
		},
		"no route": func(t *testing.T, p podT) {
			h, l := eth(t, p)
			must(t, h.RouteDel(&netlink.Route{LinkIndex: l.Attrs().Index, Gw: p.Gateway.AsSlice()}))
		},
		"eth0 down": func(t *testing.T, p podT) {
			h, l := eth(t, p)
			must(t, h.LinkSetDown(l))
		},
		"host end down": func(t *testing.T, p podT) {
			l, err := hostNL.LinkByName(p.Interface)
			must(t, err)
			must(t, hostNL.LinkSetDown(l))
		},
		"off the bridge": func(t *testing.T, p podT) {
			l, err := hostNL.LinkByName(p.Interface)
			must(t, err)
			must(t, hostNL.LinkSetNoMaster(l))
		},
		"gone": func(t *testing.T, p podT) { must(t, n.deleteLink(p.Interface)) },
	} {
		for _, restart := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, restart %v", name, restart), func(t *testing.T) {
				p := attach(t, n, "half")
				breakIt(t, p)
				m := n
				if restart {
					m = openTest(t, host, Config{})
				}
				got, err := m.Attach(ctx, Request{UID: "half", Netns: p.path})
				must(t, err)
				if got.IP == probe.IP {
					t.Errorf("got the address of another Pod, %s", got.IP)
				}
				wantAnswer(t, p.netnsT, "tcp4", join(probe.IP, 80), "probe "+got.IP.String())
				must(t, m.Detach(ctx, "half"))
				must(t, n.Detach(ctx, "half"))
			})
		}
	}
}

// A Pod whose sandbox is made anew keeps its UID and gets another namespace.
func TestAttachMovesToANewNamespace(t *testing.T) {
	host, _ := newHost(t)
	n := openTest(t, host, Config{})
	other := attach(t, n, "other")
	serve(t, other.netnsT, "other", "0.0.0.0:80")
	first, second := attach(t, n, "pod"), attach(t, n, "pod")
	if first.IP != second.IP {
		t.Errorf("address changed from %s to %s", first.IP, second.IP)
	}
	wantAnswer(t, second.netnsT, "tcp4", join(other.IP, 80), "other "+second.IP.String())
	wantAnswer(t, first.netnsT, "tcp4", join(other.IP, 80), "")
}

func TestExhaustedSubnetSaysSo(t *testing.T) {
	ctx := context.Background()
	host, _ := newHost(t)
	n := openTest(t, host, Config{Subnet: netip.MustParsePrefix("10.9.8.0/29")})
	for i := range 5 {
		attach(t, n, fmt.Sprint("pod", i))
	}
	ns := newNetns(t)
	_, err := n.Attach(ctx, Request{UID: "one-too-many", Netns: ns.path})
	if !errors.Is(err, ErrNoAddress) || !strings.Contains(err.Error(), "all 5 addresses of 10.9.8.0/29") {
		t.Fatalf("got %v", err)
	}
	if linkNames(t, host)[vethName(n.Bridge(), "one-too-many")] {
		t.Error("the failed Attach left its veth")
	}
	must(t, n.Detach(ctx, "pod3"))
	a, err := n.Attach(ctx, Request{UID: "one-too-many", Netns: ns.path})
	must(t, err)
	if a.IP != netip.MustParseAddr("10.9.8.5") {
		t.Errorf("got %s, want the freed 10.9.8.5", a.IP)
	}
	// A namespace that ends takes its veth with it; the address is free then,
	// although nobody called Detach.
	must(t, n.deleteLink(vethName(n.Bridge(), "pod0")))
	if a = attach(t, n, "late").Attachment; a.IP != netip.MustParseAddr("10.9.8.2") {
		t.Errorf("got %s, want 10.9.8.2, whose veth vanished", a.IP)
	}
}

func TestManyAttachDetachLeaveNothing(t *testing.T) {
	ctx := context.Background()
	host, _ := newHost(t)
	before := linkNames(t, host)
	n := openTest(t, host, Config{})
	ns := newNetns(t)
	for i := range 200 {
		uid := fmt.Sprint("pod", i)
		ports := []HostPort{{Port: 7000, ContainerPort: 80}, {Port: 7000, ContainerPort: 80, Protocol: "UDP"}}
		_, err := n.Attach(ctx, Request{UID: uid, Netns: ns.path, HostPorts: ports})
		must(t, err)
		must(t, n.Detach(ctx, uid))
	}
	must(t, n.Detach(ctx, "never attached"))
	if len(n.pool.used) != 0 || len(n.pods) != 0 || len(n.nat.mappings) != 0 {
		t.Errorf("left: addresses %v, Pods %v, hostPorts %v", n.pool.used, n.pods, n.nat.mappings)
	}
	kernel, err := n.nat.read(n.nat.name)
	must(t, err)
	if len(kernel) != 0 {
		t.Errorf("left in nftables: %v", kernel)
	}
	must(t, n.Destroy(ctx))
	must(t, n.Destroy(ctx))
	if after := linkNames(t, host); len(after) != len(before) {
		t.Errorf("interfaces before %v, after %v", before, after)
	}
	if names := tables(t, host); len(names) != 0 {
		t.Errorf("tables left: %v", names)
	}
	threadsAreHome(t)
}

func tables(t *testing.T, host netnsT) []string {
	t.Helper()
	c, err := nftables.New(nftables.WithNetNSFd(int(host.Fd())))
	must(t, err)
	list, err := c.ListTables()
	must(t, err)
	var out []string
	for _, tb := range list {
		out = append(out, tb.Name)
	}
	return out
}

// threadsAreHome checks that no thread was left in another namespace.
func threadsAreHome(t *testing.T) {
	t.Helper()
	home, err := os.Readlink(threadNetns)
	must(t, err)
	tasks, err := filepath.Glob("/proc/self/task/*/ns/net")
	must(t, err)
	for _, task := range tasks {
		if ns, err := os.Readlink(task); err == nil && ns != home {
			t.Errorf("thread %s is in %s, not in %s", task, ns, home)
		}
	}
}

func TestTwoInstancesSideBySide(t *testing.T) {
	ctx := context.Background()
	host, internet := newHost(t)
	serve(t, internet, "internet", internetAddr+":80")
	x, y := openTest(t, host, Config{Name: "x"}), openTest(t, host, Config{Name: "y"})
	if x.Subnet().Overlaps(y.Subnet()) || x.Bridge() == y.Bridge() {
		t.Fatalf("instances share %s %s and %s %s", x.Bridge(), x.Subnet(), y.Bridge(), y.Subnet())
	}
	// The same Pod UID in both: instances know nothing of each other's UIDs.
	a, b := attach(t, x, "same-uid"), attach(t, y, "same-uid", HostPort{Port: 8081, ContainerPort: 80})
	serve(t, b.netnsT, "b", "0.0.0.0:80")
	wantAnswer(t, a.netnsT, "tcp4", join(b.IP, 80), "b "+y.Gateway().String())

	_, err := x.Attach(ctx, Request{UID: "thief", Netns: newNetns(t).path, HostPorts: []HostPort{{Port: 8081, ContainerPort: 1}}})
	if !errors.Is(err, ErrPortTaken) || !strings.Contains(err.Error(), "another agent") {
		t.Errorf("hostPort of the other instance: got %v", err)
	}
	if _, err := x.Sweep(ctx, nil); err != nil {
		t.Fatal(err)
	}
	must(t, x.Destroy(ctx))
	wantAnswer(t, b.netnsT, "tcp4", internetAddr+":80", "internet "+uplinkAddr)
	wantAnswer(t, host, "tcp4", "127.0.0.1:8081", "b "+y.Gateway().String())
}

func TestSweepRemovesWhatNobodyOwns(t *testing.T) {
	ctx := context.Background()
	host, _ := newHost(t)
	n := openTest(t, host, Config{})
	keep, drop := attach(t, n, "keep"), attach(t, n, "drop", HostPort{Port: 9000, ContainerPort: 80})
	must(t, n.addVeth(vethName(n.Bridge(), "unlabelled"), newNetns(t).File, macOf(drop.IP)))
	removed, err := n.Sweep(ctx, map[string]bool{"keep": true})
	must(t, err)
	if removed != 2 {
		t.Errorf("removed %d veths, want 2", removed)
	}
	found, err := n.Attached()
	must(t, err)
	if len(found) != 1 || found[0] != keep.Attachment {
		t.Errorf("left %+v, want only keep", found)
	}
	if len(n.nat.mappings) != 0 {
		t.Errorf("hostPorts left: %v", n.nat.mappings)
	}
}

func TestSubnetAvoidsTheHostsRoutesAndStays(t *testing.T) {
	host, _ := newHost(t)
	n := openTest(t, host, Config{Name: "n"})
	first := n.Subnet()
	wide := netip.PrefixFrom(first.Addr(), 16).Masked()
	must(t, n.Destroy(context.Background()))

	h := host.handle(t)
	link, err := h.LinkByName("uplink")
	must(t, err)
	must(t, h.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Dst: addrOf(wide.Addr(), wide).IPNet, Scope: netlink.SCOPE_LINK}))
	if _, err := Open(context.Background(), Config{Name: "n", Netns: host.path, Subnet: first}); err == nil || !strings.Contains(err.Error(), "uplink") {
		t.Errorf("overlapping --pod-subnet: got %v, want an error that names the route's interface", err)
	}
	if names := linkNames(t, host); names[BridgeName("n")] {
		t.Error("the refused Open left its bridge")
	}
	n = openTest(t, host, Config{Name: "n"})
	if n.Subnet().Overlaps(wide) {
		t.Errorf("subnet %s overlaps a route of the host", n.Subnet())
	}
	second := n.Subnet()
	attach(t, n, "pod")
	if n = openTest(t, host, Config{Name: "n"}); n.Subnet() != second {
		t.Errorf("reopened with %s, want %s", n.Subnet(), second)
	}
	if _, err := Open(context.Background(), Config{Name: "n", Netns: host.path, Subnet: netip.MustParsePrefix("10.1.0.0/24")}); err == nil || !strings.Contains(err.Error(), "1 Pods") {
		t.Errorf("another --pod-subnet with a Pod attached: got %v", err)
	}
	must(t, n.Detach(context.Background(), "pod"))
	if n = openTest(t, host, Config{Name: "n", Subnet: netip.MustParsePrefix("10.1.0.0/24")}); n.Subnet().String() != "10.1.0.0/24" {
		t.Errorf("subnet %s", n.Subnet())
	}
}

func TestAttachRefusesTheHostsNamespaceAndBadInput(t *testing.T) {
	host, _ := newHost(t)
	n := openTest(t, host, Config{})
	for name, r := range map[string]Request{
		"no UID":           {Netns: host.path},
		"UID with a space": {UID: "a b", Netns: host.path},
		"host's namespace": {UID: "a", Netns: host.path},
		"no such file":     {UID: "a", Netns: "/nonexistent"},
		"no namespace":     {UID: "a", Netns: "/etc/passwd"},
	} {
		if _, err := n.Attach(context.Background(), r); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if len(n.pool.used) != 0 {
		t.Errorf("addresses left: %v", n.pool.used)
	}
}

func TestBridgeNameOfSomethingElseIsRefused(t *testing.T) {
	host, _ := newHost(t)
	_, err := Open(context.Background(), Config{Bridge: "uplink", Netns: host.path})
	if err == nil || !strings.Contains(err.Error(), "veth") {
		t.Fatalf("got %v", err)
	}
}

func TestProbeFindsWhatTheTestsUse(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	for _, f := range Probe() {
		if !f.OK {
			t.Errorf("%+v", f)
		}
	}
}

func BenchmarkAttach(b *testing.B) {
	host, _ := newHost(b)
	n := openTest(b, host, Config{})
	ctx := context.Background()
	for _, ports := range [][]HostPort{nil, {{Port: 7001, ContainerPort: 80}}} {
		b.Run(fmt.Sprintf("hostPorts=%d", len(ports)), func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				ns := newNetns(b)
				b.StartTimer()
				_, err := n.Attach(ctx, Request{UID: "bench", Netns: ns.path, HostPorts: ports})
				b.StopTimer()
				must(b, err)
				must(b, n.Detach(ctx, "bench"))
				ns.Close()
				b.StartTimer()
			}
		})
	}
}

func BenchmarkDetach(b *testing.B) {
	host, _ := newHost(b)
	n := openTest(b, host, Config{})
	ctx := context.Background()
	for b.Loop() {
		b.StopTimer()
		ns := newNetns(b)
		_, err := n.Attach(ctx, Request{UID: "bench", Netns: ns.path})
		must(b, err)
		b.StartTimer()
		must(b, n.Detach(ctx, "bench"))
		b.StopTimer()
		ns.Close()
		b.StartTimer()
	}
}

// Workers of many Pods attach and detach at once.
func TestConcurrentAttach(t *testing.T) {
	ctx := context.Background()
	host, _ := newHost(t)
	n := openTest(t, host, Config{})
	const pods = 24
	spaces := make([]netnsT, pods)
	for i := range spaces {
		spaces[i] = newNetns(t)
	}
	got := make([]Attachment, pods)
	var g errgroup.Group
	for i := range pods {
		g.Go(func() (err error) {
			r := Request{UID: fmt.Sprint("pod", i), Netns: spaces[i].path, HostPorts: []HostPort{{Port: uint16(7000 + i), ContainerPort: 80}}}
			if _, err = n.Attach(ctx, r); err != nil || i%2 == 0 {
				got[i], err = n.Attach(ctx, r)
				return err
			}
			return n.Detach(ctx, r.UID)
		})
	}
	must(t, g.Wait())
	seen := map[netip.Addr]bool{}
	found, err := n.Attached()
	must(t, err)
	for _, a := range found {
		seen[a.IP] = true
	}
	if len(found) != pods/2 || len(seen) != pods/2 || len(n.nat.mappings) != pods/2 {
		t.Errorf("%d Pods with %d addresses and %d hostPorts, want %d", len(found), len(seen), len(n.nat.mappings), pods/2)
	}
	for i := 0; i < pods; i += 2 {
		if !seen[got[i].IP] {
			t.Errorf("pod%d lost %s", i, got[i].IP)
		}
	}
	threadsAreHome(t)
}
