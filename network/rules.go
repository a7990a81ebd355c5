// SPDX-License-Identifier: Apache-2.0

package network

import (
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// The kernel's 32-bit registers, which concatenations use word by word.
const (
	word0 = unix.NFT_REG32_00
	word1 = unix.NFT_REG32_01
	word2 = unix.NFT_REG32_02
	word3 = unix.NFT_REG32_03
	word4 = unix.NFT_REG32_04
)

// Offsets in the IPv4 header, and of the port in a TCP, UDP or SCTP header.
const (
	offsetSource      = 12
	offsetDestination = 16
	offsetPort        = 2
)

// maps are the two hostPort maps of a table.
type maps struct{ any, address *nftables.Set }

func newMaps(table *nftables.Table) maps {
	target := nftables.MustConcatSetType(nftables.TypeIPAddr, nftables.TypeInetService)
	return maps{
		any: &nftables.Set{Table: table, Name: anyMap, IsMap: true, Concatenation: true, DataType: target,
			KeyType: nftables.MustConcatSetType(nftables.TypeInetProto, nftables.TypeInetService)},
		address: &nftables.Set{Table: table, Name: addressMap, IsMap: true, Concatenation: true, DataType: target,
			KeyType: nftables.MustConcatSetType(nftables.TypeIPAddr, nftables.TypeInetProto, nftables.TypeInetService)},
	}
}

// elements returns those mappings that belong into the map, as its elements.
// Each part of a key fills a 32-bit word.
func elements(s *nftables.Set, all []mapping) []nftables.SetElement {
	var out []nftables.SetElement
	for _, m := range all {
		if m.HostIP.IsValid() != (s.Name == addressMap) {
			continue
		}
		number, err := protocolNumber(m.Protocol)
		if err != nil {
			continue // normalPorts let none through
		}
		var key []byte
		if m.HostIP.IsValid() {
			key = append(key, m.HostIP.AsSlice()...)
		}
		key = append(key, number, 0, 0, 0, byte(m.Port>>8), byte(m.Port), 0, 0)
		val := append(m.IP.AsSlice(), byte(m.ContainerPort>>8), byte(m.ContainerPort), 0, 0)
		out = append(out, nftables.SetElement{Key: key, Val: val, Comment: m.UID})
	}
	return out
}

// mappingOf is the reverse of elements.
func mappingOf(s *nftables.Set, e nftables.SetElement) (m mapping, ok bool) {
	key, val := e.Key, e.Val
	if s.Name == addressMap {
		if len(key) < 4 {
			return m, false
		}
		m.HostIP = netip.AddrFrom4([4]byte(key[:4]))
		key = key[4:]
	}
	if len(key) < 6 || len(val) < 6 {
		return m, false
	}
	m.Protocol = protocolName(key[0])
	m.Port = uint16(key[4])<<8 | uint16(key[5])
	m.IP = netip.AddrFrom4([4]byte(val[:4]))
	m.ContainerPort = uint16(val[4])<<8 | uint16(val[5])
	m.UID = e.Comment
	return m, m.Protocol != ""
}

// addRules adds the chains:
//
//	guard        drops what comes from a Pod with a loopback destination, so
//	             that route_localnet on the bridge opens nothing
//	prerouting,
//	output       destination is one of the host's addresses: look hostPorts up
//	postrouting  masquerade what leaves the Pod subnet; what a Pod sends to a
//	             hostPort of a Pod here (else the answer would go back
//	             directly, from another address); what the host sends from a
//	             loopback address
//
// There is no forward chain: accepting there would change nothing, since each
// base chain judges on its own.
func (t *nat) addRules(c *nftables.Conn, table *nftables.Table, sets maps) {
	chain := func(name string, kind nftables.ChainType, hook *nftables.ChainHook, prio *nftables.ChainPriority) *nftables.Chain {
		return c.AddChain(&nftables.Chain{Table: table, Name: name, Type: kind, Hooknum: hook, Priority: prio})
	}
	rule := func(ch *nftables.Chain, parts ...[]expr.Any) {
		var all []expr.Any
		for _, p := range parts {
			all = append(all, p...)
		}
		c.AddRule(&nftables.Rule{Table: table, Chain: ch, Exprs: all})
	}
	loopback := netip.MustParsePrefix("127.0.0.0/8")
	multicast := netip.MustParsePrefix("224.0.0.0/4")
	fromBridge, toBridge := device(expr.MetaKeyIIFNAME, t.bridge), device(expr.MetaKeyOIFNAME, t.bridge)

	guard := chain("guard", nftables.ChainTypeFilter, nftables.ChainHookPrerouting, nftables.ChainPriorityRaw)
	rule(guard, fromBridge, within(offsetDestination, loopback, expr.CmpOpEq), verdict(expr.VerdictDrop, ""))

	lookups := c.AddChain(&nftables.Chain{Table: table, Name: "hostports"})
	rule(lookups, lookupAddress(sets.address))
	rule(lookups, lookupAny(sets.any))
	for _, hook := range []struct {
		name string
		hook *nftables.ChainHook
	}{{"prerouting", nftables.ChainHookPrerouting}, {"output", nftables.ChainHookOutput}} {
		ch := chain(hook.name, nftables.ChainTypeNAT, hook.hook, nftables.ChainPriorityNATDest)
		rule(ch, toLocalAddress(), verdict(expr.VerdictJump, lookups.Name))
	}

	post := chain("postrouting", nftables.ChainTypeNAT, nftables.ChainHookPostrouting, nftables.ChainPriorityNATSource)
	fromPods := within(offsetSource, t.subnet, expr.CmpOpEq)
	masquerade := []expr.Any{&expr.Masq{}}
	rule(post, fromPods, within(offsetDestination, t.subnet, expr.CmpOpNeq), within(offsetDestination, multicast, expr.CmpOpNeq), masquerade)
	rule(post, fromPods, toBridge, translated(), masquerade)
	rule(post, within(offsetSource, loopback, expr.CmpOpEq), toBridge, masquerade)
}

// device matches the interface that a packet comes in or goes out by.
func device(key expr.MetaKey, name string) []expr.Any {
	padded := make([]byte, unix.IFNAMSIZ)
	copy(padded, name)
	return []expr.Any{
		&expr.Meta{Key: key, Register: unix.NFT_REG_1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: unix.NFT_REG_1, Data: padded},
	}
}

// within compares an address of the IPv4 header with a prefix.
func within(offset uint32, p netip.Prefix, op expr.CmpOp) []expr.Any {
	mask := fromUint32(^uint32(0) << (32 - p.Bits())).AsSlice()
	return []expr.Any{
		&expr.Payload{DestRegister: unix.NFT_REG_1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: 4},
		&expr.Bitwise{SourceRegister: unix.NFT_REG_1, DestRegister: unix.NFT_REG_1, Len: 4, Mask: mask, Xor: make([]byte, 4)},
		&expr.Cmp{Op: op, Register: unix.NFT_REG_1, Data: p.Masked().Addr().AsSlice()},
	}
}

// toLocalAddress matches packets for an address of the host itself.
func toLocalAddress() []expr.Any {
	return []expr.Any{
		&expr.Fib{Register: unix.NFT_REG_1, ResultADDRTYPE: true, FlagDADDR: true},
		&expr.Cmp{Op: expr.CmpOpEq, Register: unix.NFT_REG_1, Data: binaryutil.NativeEndian.PutUint32(unix.RTN_LOCAL)},
	}
}

// translated matches connections whose destination was rewritten.
func translated() []expr.Any {
	const dstNAT = 1 << 5 // IPS_DST_NAT
	return []expr.Any{
		&expr.Ct{Key: expr.CtKeySTATUS, Register: unix.NFT_REG_1},
		&expr.Bitwise{SourceRegister: unix.NFT_REG_1, DestRegister: unix.NFT_REG_1, Len: 4,
			Mask: binaryutil.NativeEndian.PutUint32(dstNAT), Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: unix.NFT_REG_1, Data: make([]byte, 4)},
	}
}

func verdict(kind expr.VerdictKind, chain string) []expr.Any {
	return []expr.Any{&expr.Verdict{Kind: kind, Chain: chain}}
}

// lookupAny rewrites the destination to what the map has for protocol and port;
// without an entry the rule ends.
func lookupAny(s *nftables.Set) []expr.Any {
	return append([]expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: word0},
		&expr.Payload{DestRegister: word1, Base: expr.PayloadBaseTransportHeader, Offset: offsetPort, Len: 2},
	}, rewrite(s, word0)...)
}

// lookupAddress is lookupAny for the map that is keyed by address as well.
func lookupAddress(s *nftables.Set) []expr.Any {
	return append([]expr.Any{
		&expr.Payload{DestRegister: word0, Base: expr.PayloadBaseNetworkHeader, Offset: offsetDestination, Len: 4},
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: word1},
		&expr.Payload{DestRegister: word2, Base: expr.PayloadBaseTransportHeader, Offset: offsetPort, Len: 2},
	}, rewrite(s, word0)...)
}

func rewrite(s *nftables.Set, key uint32) []expr.Any {
	return []expr.Any{
		&expr.Lookup{SourceRegister: key, DestRegister: word3, IsDestRegSet: true, SetName: s.Name, SetID: s.ID},
		&expr.NAT{Type: expr.NATTypeDestNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: word3, RegProtoMin: word4},
	}
}
