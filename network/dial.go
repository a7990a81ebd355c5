// SPDX-License-Identifier: Apache-2.0

package network

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"time"
)

// dialTime bounds a connection on a loopback interface.
const dialTime = 10 * time.Second

// DialLoopback connects to a TCP port on the loopback interface of the network
// namespace at a path, that of the host when it is empty: over IPv4 first, then over
// IPv6, as Kubernetes' port-forward does.
func DialLoopback(ctx context.Context, netns string, port uint16) (net.Conn, error) {
	if netns == "" {
		return dialLoopback(ctx, port)
	}
	ns, err := openNetns(netns)
	if err != nil {
		return nil, err
	}
	defer ns.Close()
	var conn net.Conn
	err = inNetns(ns, func() error {
		var err error
		conn, err = dialLoopback(ctx, port)
		return err
	})
	return conn, err
}

// dialLoopback dials addresses, not names, and one after the other: so the socket is
// made by the calling thread, in its namespace.
func dialLoopback(ctx context.Context, port uint16) (net.Conn, error) {
	dialer := net.Dialer{Timeout: dialTime}
	conn, err := dialer.DialContext(ctx, "tcp4", netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port).String())
	if err == nil {
		return conn, nil
	}
	conn, err6 := dialer.DialContext(ctx, "tcp6", netip.AddrPortFrom(netip.IPv6Loopback(), port).String())
	if err6 == nil {
		return conn, nil
	}
	return nil, fmt.Errorf("failed to connect to localhost:%d inside the Pod, IPv4: %w IPv6: %w", port, err, err6)
}
