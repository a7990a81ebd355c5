// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// servesPods tells whether Pods reach the API. Without a Pod network there is no
// address for it.
func (a *Agent) servesPods() bool { return a.cfg.ListenPods && a.network != nil }

// listenPods opens the gateway's address at the API's port, which Pods with
// hostNetwork reach as well, and tells containers of it. A listener on all
// addresses has it already.
func (f *front) listenPods(ctx context.Context) error {
	main := f.tcp.Addr().(*net.TCPAddr)
	gateway := f.agent.network.Gateway()
	at := netip.AddrPortFrom(gateway, uint16(main.Port))
	if !main.IP.IsUnspecified() && main.AddrPort().Addr().Unmap() != gateway {
		cfg := net.ListenConfig{Control: freeBind}
		l, err := cfg.Listen(ctx, "tcp4", at.String())
		if err != nil {
			return fmt.Errorf("API listener for Pods: %w; choose another port with --listen, or leave listenPods out", err)
		}
		f.pods = l
	}
	f.agent.manager.Load().ServeAPIAt(at)
	return nil
}

// freeBind lets a socket have an address that the machine may get later: the
// bridge can be made anew.
func freeBind(_, _ string, c syscall.RawConn) error {
	var set error
	err := c.Control(func(fd uintptr) { set = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_FREEBIND, 1) })
	return errors.Join(err, set)
}
