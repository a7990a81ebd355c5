// SPDX-License-Identifier: Apache-2.0

package network

import (
	"errors"
	"fmt"
	"net/netip"
)

// ErrNoAddress says that every address of the Pod subnet is in use.
var ErrNoAddress = errors.New("no free Pod address")

// pool hands out the addresses of a subnet. The first one is the gateway's; the
// first and last numbers of the subnet are never given. It goes round: a freed
// address is given again only after all the others. Not safe for concurrent use.
type pool struct {
	subnet netip.Prefix
	used   map[netip.Addr]string // address -> Pod UID
	last   uint32                // the address given last
}

func newPool(subnet netip.Prefix) *pool {
	return &pool{subnet: subnet, used: map[netip.Addr]string{}, last: toUint32(subnet.Addr()) + 1}
}

func (p *pool) gateway() netip.Addr { return p.subnet.Addr().Next() }

// bounds returns the lowest and highest address that a Pod may get.
func (p *pool) bounds() (lo, hi uint32) {
	base := toUint32(p.subnet.Addr())
	return base + 2, base + (1<<(32-p.subnet.Bits()) - 2)
}

// size is the number of Pods that the subnet can hold.
func (p *pool) size() int {
	lo, hi := p.bounds()
	return int(hi - lo + 1)
}

// take gives the next free address to the Pod.
func (p *pool) take(uid string) (netip.Addr, error) {
	lo, hi := p.bounds()
	n := p.last
	for range p.size() {
		if n++; n > hi || n < lo {
			n = lo
		}
		ip := fromUint32(n)
		if _, inUse := p.used[ip]; !inUse {
			p.used[ip] = uid
			p.last = n
			return ip, nil
		}
	}
	return netip.Addr{}, fmt.Errorf("%w: all %d addresses of %s are in use; remove Pods or choose a larger --pod-subnet", ErrNoAddress, p.size(), p.subnet)
}

// mark records an address as found in use. Addresses outside the subnet are
// ignored: they take nothing away from it.
func (p *pool) mark(ip netip.Addr, uid string) {
	if p.subnet.Contains(ip) {
		p.used[ip] = uid
		p.last = max(p.last, toUint32(ip))
	}
}

// release returns the address of the Pod, if it has one.
func (p *pool) release(uid string) {
	for ip, owner := range p.used {
		if owner == uid {
			delete(p.used, ip)
		}
	}
}
