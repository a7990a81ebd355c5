// SPDX-License-Identifier: Apache-2.0

package network

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// listener is a socket that takes what arrives at a port.
type listener struct {
	addr  netip.AddrPort
	inode string
}

// Socket states in /proc/net/tcp and /proc/net/udp (include/net/tcp_states.h).
const (
	stateListen      = "0A"
	stateUnconnected = "07"
)

// checkListeners refuses ports that a process in the host's namespace listens
// on: the mapping would take its connections away without a word.
func (n *Network) checkListeners(r Request, want []HostPort) error {
	for _, proto := range []corev1.Protocol{corev1.ProtocolTCP, corev1.ProtocolUDP} {
		var found []listener
		for _, p := range want {
			if p.Protocol != proto {
				continue
			}
			if found == nil {
				var err error
				if found, err = n.listeners(proto); err != nil {
					return err
				}
			}
			for _, l := range found {
				if l.addr.Port() != p.Port || p.HostIP.IsValid() && !l.addr.Addr().IsUnspecified() && l.addr.Addr() != p.HostIP {
					continue
				}
				return fmt.Errorf("%w: pod %s wants hostPort %s, on which %s listens (%s); stop it or choose another hostPort", ErrPortTaken, r.label(), p, ownerOf(l.inode), l.addr)
			}
		}
	}
	return nil
}

// listeners reads the listening sockets of a protocol, IPv4 and IPv6: a
// wildcard IPv6 socket usually takes IPv4 connections as well.
func (n *Network) listeners(proto corev1.Protocol) ([]listener, error) {
	file, state := "tcp", stateListen
	if proto == corev1.ProtocolUDP {
		file, state = "udp", stateUnconnected
	}
	var out []listener
	err := inNetns(n.host, func() error {
		for _, name := range []string{file, file + "6"} {
			data, err := os.ReadFile("/proc/thread-self/net/" + name)
			if errors.Is(err, fs.ErrNotExist) {
				continue // no IPv6
			}
			if err != nil {
				return fmt.Errorf("list the host's listening sockets: %w", err)
			}
			for _, l := range parseSockets(data, state) {
				if name == file || l.addr.Addr().Is4() || l.addr.Addr().IsUnspecified() {
					out = append(out, l)
				}
			}
		}
		return nil
	})
	return out, err
}

// parseSockets reads the table of /proc/net/{tcp,udp}{,6}, skipping lines that
// it does not understand. Columns: number, local address, remote address, state,
// queues, timer, retransmits, uid, timeout, inode.
func parseSockets(data []byte, state string) []listener {
	var out []listener
	lines := bufio.NewScanner(bytes.NewReader(data))
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		if len(f) < 10 || f[3] != state {
			continue
		}
		if addr, ok := parseSocketAddr(f[1]); ok {
			out = append(out, listener{addr, f[9]})
		}
	}
	return out
}

// parseSocketAddr reads an address as the kernel prints it: each 32-bit word in
// the machine's byte order, then the port.
func parseSocketAddr(s string) (netip.AddrPort, bool) {
	host, port, ok := strings.Cut(s, ":")
	if !ok {
		return netip.AddrPort{}, false
	}
	n, err := strconv.ParseUint(port, 16, 16)
	if err != nil {
		return netip.AddrPort{}, false
	}
	raw, err := hex.DecodeString(host)
	if err != nil || len(raw)%4 != 0 {
		return netip.AddrPort{}, false
	}
	for i := 0; i < len(raw); i += 4 {
		binary.NativeEndian.PutUint32(raw[i:], binary.BigEndian.Uint32(raw[i:]))
	}
	ip, ok := netip.AddrFromSlice(raw)
	return netip.AddrPortFrom(ip.Unmap(), uint16(n)), ok
}

// ownerOf names the process that holds a socket.
func ownerOf(inode string) string {
	link := "socket:[" + inode + "]"
	fds, _ := filepath.Glob("/proc/[0-9]*/fd/*") // the pattern is well-formed
	for _, fd := range fds {
		if target, err := os.Readlink(fd); err != nil || target != link {
			continue
		}
		pid := strings.Split(fd, "/")[2]
		comm, err := os.ReadFile("/proc/" + pid + "/comm")
		if err != nil {
			return "process " + pid
		}
		return fmt.Sprintf("process %s (%s)", pid, strings.TrimSpace(string(comm)))
	}
	return "a process of the host"
}
