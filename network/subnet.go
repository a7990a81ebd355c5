// SPDX-License-Identifier: Apache-2.0

package network

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"net/netip"
)

// derivedBits is the prefix length of a derived Pod subnet: 1,021 Pods.
const derivedBits = 22

// derivedSpaces are searched in this order for a subnet that the host has no
// route to. None holds the customary subnets of docker (172.17 and up come
// late), podman (10.88), CRI-O (10.85), k3s (10.42) or flannel (10.244).
func derivedSpaces() []netip.Prefix {
	return []netip.Prefix{
		netip.MustParsePrefix("10.208.0.0/12"),
		netip.MustParsePrefix("100.64.0.0/10"),
		netip.MustParsePrefix("192.168.0.0/16"),
		netip.MustParsePrefix("172.16.0.0/12"),
	}
}

// chooseSubnet returns a subnet for the instance that overlaps none of taken.
// The search begins at a place that depends on the instance's name, so that
// instances that start at the same time choose different ones.
func chooseSubnet(instance string, taken []netip.Prefix) (netip.Prefix, error) {
	sum := sha256.Sum256([]byte("subnet\x00" + instanceName(instance)))
	start := binary.BigEndian.Uint32(sum[:4])
	for _, space := range derivedSpaces() {
		count := uint32(1) << (derivedBits - space.Bits())
		base := toUint32(space.Addr())
		for i := range count {
			n := (start + i) % count
			p := netip.PrefixFrom(fromUint32(base+n<<(32-derivedBits)), derivedBits)
			if _, clash := overlapping(p, taken); !clash {
				return p, nil
			}
		}
	}
	return netip.Prefix{}, fmt.Errorf("no free Pod subnet: the host has routes to all of %v; choose one with --pod-subnet", derivedSpaces())
}

// overlapping returns the first of taken that shares an address with p.
func overlapping(p netip.Prefix, taken []netip.Prefix) (netip.Prefix, bool) {
	for _, t := range taken {
		if t.Overlaps(p) {
			return t, true
		}
	}
	return netip.Prefix{}, false
}

// checkSubnet refuses a subnet that cannot hold a gateway and a Pod.
func checkSubnet(p netip.Prefix) error {
	switch {
	case !p.IsValid() || !p.Addr().Is4():
		return fmt.Errorf("pod subnet %s: not an IPv4 prefix such as 10.208.0.0/22", p)
	case p.Masked() != p:
		return fmt.Errorf("pod subnet %s: has host bits set; did you mean %s?", p, p.Masked())
	case p.Bits() > 30:
		return fmt.Errorf("pod subnet %s: too small for a gateway and a Pod; use /30 or larger", p)
	case p.Bits() < 8:
		return fmt.Errorf("pod subnet %s: larger than any private range; use /8 or smaller", p)
	}
	return nil
}

func toUint32(a netip.Addr) uint32 {
	b := a.As4()
	return binary.BigEndian.Uint32(b[:])
}

func fromUint32(v uint32) netip.Addr {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], v)
	return netip.AddrFrom4(b)
}
