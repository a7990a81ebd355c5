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
// first and last numbers of the subnet are never given. Of the free addresses it
// gives the one that was freed longest ago, so that what still speaks to a
// deleted Pod does not soon reach another. Not safe for concurrent use.
type pool struct {
	subnet netip.Prefix
	used   map[netip.Addr]string // address -> Pod UID
	freed  map[netip.Addr]uint64 // when it was freed, by the count of releases
	frees  uint64
	last   uint32 // the address given last; the search begins behind it
}

func newPool(subnet netip.Prefix) *pool {
	return &pool{subnet: subnet, used: map[netip.Addr]string{}, freed: map[netip.Addr]uint64{}, last: toUint32(subnet.Addr()) + 1}
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

// take gives a free address to the Pod.
func (p *pool) take(uid string) (netip.Addr, error) {
	lo, hi := p.bounds()
	n := p.last
	var best netip.Addr
	for range p.size() {
		if n++; n > hi || n < lo {
			n = lo
		}
		ip := fromUint32(n)
		if _, inUse := p.used[ip]; inUse {
			continue
		}
		if !best.IsValid() || p.freed[ip] < p.freed[best] {
			best = ip
		}
		if p.freed[best] == 0 {
			break // never had an owner that we know of
		}
	}
	if !best.IsValid() {
		return netip.Addr{}, fmt.Errorf("%w: all %d addresses of %s are in use; remove Pods or choose a larger --pod-subnet", ErrNoAddress, p.size(), p.subnet)
	}
	p.used[best] = uid
	p.last = toUint32(best)
	return best, nil
}

// reset replaces what is in use by what was found; an address that is no longer
// in use counts as freed now.
func (p *pool) reset(found map[netip.Addr]string) {
	for ip, uid := range p.used {
		if _, still := found[ip]; !still {
			p.release(uid)
		}
	}
	p.used = found
	for ip := range found {
		p.last = max(p.last, toUint32(ip))
	}
}

// release returns the address of the Pod, if it has one.
func (p *pool) release(uid string) {
	for ip, owner := range p.used {
		if owner == uid {
			delete(p.used, ip)
			p.frees++
			p.freed[ip] = p.frees
		}
	}
}
