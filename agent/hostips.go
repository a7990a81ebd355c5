// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"github.com/minikubelet/minikubelet/network"
)

// settleAddress is how long the news of addresses and routes are let come together before
// they are acted on: DHCP and routing daemons tell of several at a time.
const settleAddress = 200 * time.Millisecond

// loopback stands for the address of a node that never had one.
var loopback = netip.AddrFrom4([4]byte{127, 0, 0, 1})

// hostAddress is the node's address, which may come after the agent's start and change
// later. One that is lost stays the node's until there is another, as the kubelet keeps
// its Node's addresses. Its methods are safe for concurrent use.
type hostAddress struct {
	find func() (netip.Addr, bool)

	mu         sync.Mutex
	last, told netip.Addr
}

func newHostAddress(find func() (netip.Addr, bool)) *hostAddress {
	h := &hostAddress{find: find, last: loopback}
	h.told = h.look()
	return h
}

// look is the address now.
func (h *hostAddress) look() netip.Addr {
	h.mu.Lock()
	defer h.mu.Unlock()
	if ip, ok := h.find(); ok {
		h.last = ip
	}
	return h.last
}

// ips is the address in the form of a Pod's status.hostIPs.
func (h *hostAddress) ips() []string { return []string{h.look().String()} }

// changed tells whether the address is another than it was at the last call, or in the
// beginning.
func (h *hostAddress) changed() (now netip.Addr, changed bool) {
	now = h.look()
	h.mu.Lock()
	defer h.mu.Unlock()
	changed = now != h.told
	h.told = now
	return now, changed
}

// followAddress has everything renewed that shows the node's address, whenever it is
// another one, until ctx ends.
func (a *Agent) followAddress(ctx context.Context) {
	news := make(chan struct{}, 1)
	var following sync.WaitGroup
	defer following.Wait()
	following.Go(func() {
		if err := network.FollowHostIP(ctx, func() { notify(news) }); err != nil {
			a.log.Warn("cannot hear of changes of the node's address; restart the agent after one", "err", err)
		}
	})
	for {
		select {
		case <-ctx.Done():
			return
		case <-news:
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(settleAddress):
		}
		select {
		case <-news: // until now: it is looked at now
		default:
		}
		if now, changed := a.address.changed(); changed {
			a.log.Info("the node has another address", "address", now)
			a.manager.Load().HostIPsChanged()
			notify(a.nodeChanged)
			notify(a.namesChanged)
		}
	}
}

// notify puts the one value into a channel that has room for it, unless it is there
// already.
func notify(ch chan<- struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}
