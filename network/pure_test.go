// SPDX-License-Identifier: Apache-2.0

package network

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// The pool never gives an address twice, nor one that is not a Pod's to have;
// it fails only when all are in use; the address that was freed last comes back
// last.
func TestPoolProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		bits := rapid.IntRange(25, 30).Draw(t, "bits")
		subnet := netip.PrefixFrom(netip.MustParseAddr("10.1.2.0"), bits)
		p := newPool(subnet)
		held := map[string]netip.Addr{}
		var lastFreed netip.Addr
		next := 0
		t.Repeat(map[string]func(*rapid.T){
			"take": func(t *rapid.T) {
				uid := fmt.Sprint("pod", next)
				next++
				ip, err := p.take(uid)
				if err != nil {
					if !errors.Is(err, ErrNoAddress) || len(held) != p.size() {
						t.Fatalf("%v with %d of %d in use", err, len(held), p.size())
					}
					return
				}
				last := fromUint32(toUint32(subnet.Addr()) + 1<<(32-bits) - 1)
				if !subnet.Contains(ip) || ip == subnet.Addr() || ip == p.gateway() || ip == last {
					t.Fatalf("gave %s of %s", ip, subnet)
				}
				for other, had := range held {
					if had == ip {
						t.Fatalf("gave %s to %s, which %s has", ip, uid, other)
					}
				}
				free := p.size() - len(held)
				if ip == lastFreed && free > 1 {
					t.Fatalf("gave %s, freed a moment ago, with %d free", ip, free)
				}
				held[uid] = ip
			},
			"release": func(t *rapid.T) {
				if len(held) == 0 {
					t.Skip("none held")
				}
				uid := rapid.SampledFrom(keys(held)).Draw(t, "uid")
				p.release(uid)
				lastFreed = held[uid]
				delete(held, uid)
			},
			"": func(t *rapid.T) {
				if len(p.used) != len(held) {
					t.Fatalf("pool has %v, want %v", p.used, held)
				}
			},
		})
	})
}

func keys(m map[string]netip.Addr) []string {
	var out []string
	for i := range 1000 {
		if k := fmt.Sprint("pod", i); m[k].IsValid() {
			out = append(out, k)
		}
	}
	return out
}

// A chosen subnet overlaps nothing that is taken and is the same each time.
func TestChooseSubnetProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.String().Draw(t, "instance")
		var taken []netip.Prefix
		for range rapid.IntRange(0, 40).Draw(t, "routes") {
			space := rapid.SampledFrom(derivedSpaces()).Draw(t, "space")
			bits := rapid.IntRange(space.Bits()-1, 32).Draw(t, "bits")
			addr := fromUint32(toUint32(space.Addr()) + rapid.Uint32Max(1<<(32-space.Bits())-1).Draw(t, "offset"))
			taken = append(taken, netip.PrefixFrom(addr, bits).Masked())
		}
		got, err := chooseSubnet(name, taken)
		if err != nil {
			for _, space := range derivedSpaces() {
				if _, clash := overlapping(space, taken); !clash {
					t.Fatalf("%v, but %s is free", err, space)
				}
			}
			return
		}
		if other, clash := overlapping(got, taken); clash || checkSubnet(got) != nil {
			t.Fatalf("chose %s, which overlaps %s or is no Pod subnet", got, other)
		}
		if again, _ := chooseSubnet(name, taken); again != got {
			t.Fatalf("chose %s, then %s", got, again)
		}
	})
}

func TestChooseSubnetSaysWhenAllIsTaken(t *testing.T) {
	_, err := chooseSubnet("", derivedSpaces())
	if err == nil || !strings.Contains(err.Error(), "--pod-subnet") {
		t.Errorf("got %v", err)
	}
	got, err := chooseSubnet("", []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")})
	if err != nil || !netip.MustParsePrefix("100.64.0.0/10").Contains(got.Addr()) {
		t.Errorf("with a route to 10.0.0.0/8: got %s, %v", got, err)
	}
}

func TestCheckSubnet(t *testing.T) {
	for s, ok := range map[string]bool{
		"10.0.0.0/8": true, "10.0.0.0/30": true, "10.0.0.0/31": false, "10.0.0.0/7": false,
		"10.0.0.1/24": false, "fd00::/64": false,
	} {
		if err := checkSubnet(netip.MustParsePrefix(s)); (err == nil) != ok {
			t.Errorf("%s: got %v", s, err)
		}
	}
}

// Names fit the kernel's limits, and aliases survive being written and read.
func TestNamesProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		instance := rapid.String().Draw(t, "instance")
		bridge := BridgeName(instance)
		uid := rapid.StringMatching(`[!-~]{1,120}`).Draw(t, "uid")
		if n := vethName(bridge, uid); len(n) != maxInterfaceName || n == bridge || len(bridge) > maxInterfaceName {
			t.Fatalf("veth %q, bridge %q", n, bridge)
		}
		if n := tableName(instance); len(n) > 255 || !strings.HasPrefix(n, tablePrefix) {
			t.Fatalf("table %q", n)
		}
		if err := checkUID(uid); err != nil {
			t.Fatal(err)
		}
		a := alias{UID: uid, IP: fromUint32(rapid.Uint32().Draw(t, "ip")), Name: rapid.StringMatching(`([a-z]{1,63}/[a-z]{1,253})?`).Draw(t, "name")}
		got, ok := parseAlias(a.String())
		if !ok || got.UID != a.UID || got.IP != a.IP || !strings.HasPrefix(a.Name, got.Name) || len(a.String()) > maxAlias {
			t.Fatalf("wrote %+v, read %+v", a, got)
		}
	})
	if tableName("a/b") == tableName("a_b") || BridgeName("a") == BridgeName("b") {
		t.Error("two instances share a name")
	}
}

func TestNormalPortsProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var ports []HostPort
		for range rapid.IntRange(0, 6).Draw(t, "n") {
			p := HostPort{Port: rapid.Uint16Max(3).Draw(t, "port"), ContainerPort: rapid.Uint16Range(1, 2).Draw(t, "container")}
			if rapid.Bool().Draw(t, "one address") {
				p.HostIP = rapid.SampledFrom([]netip.Addr{netip.IPv4Unspecified(), fromUint32(1), fromUint32(2)}).Draw(t, "ip")
			}
			ports = append(ports, p)
		}
		got, err := normalPorts(ports)
		if err != nil {
			return
		}
		for i, a := range got {
			for _, b := range got[:i] {
				if a.Overlaps(b) {
					t.Fatalf("%v and %v overlap", a, b)
				}
			}
		}
	})
}

func TestParseSockets(t *testing.T) {
	const table = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 0000000000000000 100 0 0 10 0
   1: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4712 1 0000000000000000 100 0 0 10 0
   2: 0100007F:1F91 0100007F:9999 01 00000000:00000000 00:00000000 00000000     0        0 4713 1 0000000000000000 100 0 0 10 0
   3: 00000000000000000000000000000000:0050 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 4714 1
   4: 0000000000000000FFFF00000100007F:0051 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 4715 1
`
	var got string
	for _, l := range parseSockets([]byte(table), stateListen) {
		got += fmt.Sprintf("%s %s, ", l.addr, l.inode)
	}
	if want := "127.0.0.1:8080 4711, 0.0.0.0:22 4712, [::]:80 4714, 127.0.0.1:81 4715, "; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func FuzzParseSockets(f *testing.F) {
	f.Add([]byte("0: 0100007F:1F90 00000000:0000 0A 0:0 0:0 0 0 0 4711"))
	f.Add([]byte("0: 00:1F90 00000000:0000 0A 0:0 0:0 0 0 0 4711"))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, l := range parseSockets(data, stateListen) {
			if !l.addr.Addr().IsValid() || l.inode == "" {
				t.Errorf("%+v", l)
			}
		}
	})
}

func FuzzParseAlias(f *testing.F) {
	f.Add("minikubelet uid 10.0.0.2 default/web")
	f.Fuzz(func(t *testing.T, s string) {
		if a, ok := parseAlias(s); ok && (a.UID == "" || !a.IP.IsValid()) {
			t.Errorf("%q: %+v", s, a)
		}
	})
}
