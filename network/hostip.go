// SPDX-License-Identifier: Apache-2.0

package network

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// somewhere is an address that nobody has (TEST-NET-1) and that only a default route
// leads to.
var somewhere = unix.SockaddrInet4{Port: 9, Addr: [4]byte{192, 0, 2, 1}}

// HostIP is the IPv4 address with which the host reaches the world: that of the
// interface with the default route, found without sending anything. Without such a
// route there is none. It is cheap enough to be asked for whenever it is needed.
func HostIP() (netip.Addr, bool) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return netip.Addr{}, false
	}
	defer unix.Close(fd)
	if err := unix.Connect(fd, &somewhere); err != nil { // connecting a UDP socket sends no packet
		return netip.Addr{}, false
	}
	addr, err := unix.Getsockname(fd)
	if err != nil {
		return netip.Addr{}, false
	}
	from, ok := addr.(*unix.SockaddrInet4)
	if !ok {
		return netip.Addr{}, false
	}
	return netip.AddrFrom4(from.Addr), true
}

// hostGroups are the kernel's news of which HostIP may be another after them. An address
// comes and goes with a route to it in the local table. Links are among them, for IPv4
// routes that go because their interface is down are not told of.
const hostGroups = 1<<(unix.RTNLGRP_LINK-1) | 1<<(unix.RTNLGRP_IPV4_ROUTE-1)

// FollowHostIP calls changed whenever HostIP may have changed, and at first once it
// would hear of that, until ctx ends; it returns nil then. It waits for the kernel's
// news and looks at nothing itself. changed is called once for each of them, which may
// be many at a time, and must not block.
func FollowHostIP(ctx context.Context, changed func()) error {
	news, err := subscribe(hostGroups)
	if err != nil {
		return fmt.Errorf("follow addresses and routes: %w", err)
	}
	defer news.Close()
	stop := context.AfterFunc(ctx, func() { news.Close() })
	defer stop()
	changed()
	var message [1]byte // what is in it does not matter: the kernel drops the rest
	for {
		_, err := news.Read(message[:])
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil, errors.Is(err, unix.ENOBUFS): // some were lost
			changed()
		default:
			return fmt.Errorf("follow addresses and routes: %w", err)
		}
	}
}

// subscribe opens a routing netlink socket that hears of some groups.
func subscribe(groups uint32) (*os.File, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("routing netlink socket: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: groups}); err != nil {
		return nil, fmt.Errorf("subscribe to routing netlink: %w", errors.Join(err, unix.Close(fd)))
	}
	return os.NewFile(uintptr(fd), "rtnetlink"), nil
}
