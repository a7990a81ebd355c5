// SPDX-License-Identifier: Apache-2.0

package network

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"strings"
)

// Interface names hold at most 15 bytes (IFNAMSIZ less the NUL), an ifalias 255
// (IFALIASZ less one).
const (
	maxInterfaceName = 15
	maxAlias         = 255
	aliasTag         = "minikubelet"
	podInterface     = "eth0"
	tablePrefix      = "minikubelet-"
	defaultInstance  = "default"
)

// shortHash returns the first n hexadecimal digits of the SHA-256 of the parts.
func shortHash(n int, parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return hex.EncodeToString(sum[:])[:n]
}

// instanceName gives the default instance its name.
func instanceName(name string) string {
	if name == "" {
		return defaultInstance
	}
	return name
}

// BridgeName returns the name of an instance's bridge: mk0 for the default
// instance (the empty name or "default"), else mk and eight digits of a hash.
func BridgeName(instance string) string {
	if instanceName(instance) == defaultInstance {
		return "mk0"
	}
	return "mk" + shortHash(8, "bridge", instance)
}

// vethPrefix is what the names of an instance's host-side veths begin with. It
// depends on the bridge, which is what tells instances apart in the kernel.
func vethPrefix(bridge string) string {
	return "mk" + shortHash(3, "veth", bridge)
}

// vethName returns the name of the host end of a Pod's veth pair, always 15
// bytes: 40 bits of it belong to the Pod UID.
func vethName(bridge, uid string) string {
	p := vethPrefix(bridge)
	return p + shortHash(maxInterfaceName-len(p), bridge, uid)
}

// tableName returns the name of an instance's nftables table. The nft command
// accepts letters, digits, and "-_." in a name; other bytes are replaced and a
// hash keeps the result unique.
func tableName(instance string) string {
	instance = instanceName(instance)
	clean := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-', r == '_', r == '.':
			return r
		}
		return '_'
	}, instance)
	if clean != instance || len(clean) > 100 {
		clean = clean[:min(len(clean), 90)] + "-" + shortHash(8, "table", instance)
	}
	return tablePrefix + clean
}

// alias is what the host end of a veth says about its Pod.
type alias struct {
	UID  string
	IP   netip.Addr
	Name string // namespace/name, for people; may be empty or cut short
}

func (a alias) String() string {
	s := fmt.Sprintf("%s %s %s", aliasTag, a.UID, a.IP)
	if a.Name != "" {
		s += " " + a.Name
	}
	return s[:min(len(s), maxAlias)]
}

// parseAlias reads an ifalias; ok is false when it is not one of ours.
func parseAlias(s string) (a alias, ok bool) {
	f := strings.Fields(s)
	if len(f) < 3 || f[0] != aliasTag {
		return alias{}, false
	}
	ip, err := netip.ParseAddr(f[2])
	if err != nil {
		return alias{}, false
	}
	a = alias{UID: f[1], IP: ip}
	if len(f) > 3 {
		a.Name = f[3]
	}
	return a, true
}

// checkUID refuses what would not survive a round trip through an ifalias or an
// nftables comment (at most 128 bytes with its framing).
func checkUID(uid string) error {
	if uid == "" || len(uid) > 120 || strings.ContainsFunc(uid, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return fmt.Errorf("pod UID %q: want 1 to 120 printable ASCII characters without spaces", uid)
	}
	return nil
}

// macOf derives a hardware address from an IPv4 address. The same address
// always has the same hardware address, so that a neighbour's ARP entry stays
// right when an address passes from one Pod to another.
func macOf(ip netip.Addr) net.HardwareAddr {
	b := ip.As4()
	return net.HardwareAddr{0x0a, 0x58, b[0], b[1], b[2], b[3]}
}
