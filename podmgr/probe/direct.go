// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// connection is what a plain request needs of one.
type connection interface {
	io.ReadWriteCloser
	SetDeadline(time.Time) error
}

// open connects to a host. The addresses of Pods are IPv4 ones: see direct.
func open(ctx context.Context, host, port string) (connection, error) {
	if at, err := netip.ParseAddrPort(net.JoinHostPort(host, port)); err == nil && at.Addr().Is4() {
		return dialDirect(at)
	}
	return dialer().DialContext(ctx, "tcp", net.JoinHostPort(host, port))
}

// direct is a connection for one exchange, made with few system calls and fewer
// switches of threads, of which most of a probe's cost is made. connect is not waited
// for: a peer on this machine has answered by the time that it returns, and what is
// written to any other is sent once it has. The answer is not waited for by polling but
// looked for a moment later, for all probes of that moment at once. A peer that takes
// longer is polled from then on. Errors are the net package's.
type direct struct {
	fd           int
	to           netip.AddrPort
	sent, looked bool

	mu sync.Mutex
	// file is what polls, once that is needed; deadline is for it.
	file     *os.File
	deadline time.Time
}

// answerTime is how long a peer has before its answer is looked for: from half of it to
// once and a half, so that probes that are made together are looked at together.
const answerTime = 10 * time.Millisecond

// clock counts the moments at which answers are looked for.
var clock = time.Now()

func dialDirect(to netip.AddrPort) (*direct, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
	if err != nil {
		return nil, opError("dial", "socket", to, err)
	}
	// Best effort: without it, sockets only linger for longer.
	_ = unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1, Linger: 1})
	switch err := unix.Connect(fd, &unix.SockaddrInet4{Addr: to.Addr().As4(), Port: int(to.Port())}); err {
	case nil, unix.EINPROGRESS, unix.EINTR:
		return &direct{fd: fd, to: to}, nil
	default:
		_ = unix.Close(fd) // err is what went wrong
		return nil, opError("dial", "connect", to, err)
	}
}

// Write sends when there is a connection; that there is none is its error.
func (d *direct) Write(p []byte) (n int, err error) {
	if d.file == nil {
		n, err = unix.Write(d.fd, p)
		n = max(n, 0)
	}
	if d.file != nil || later(err) || err == nil && n < len(p) {
		var more int
		more, err = d.poll().Write(p[n:])
		n += more
	}
	broken := errors.Is(err, unix.EPIPE) || errors.Is(err, unix.ECONNRESET)
	switch {
	case err == nil:
		d.sent = true
		return n, nil
	case d.sent || broken:
		return n, opError("write", "write", d.to, err)
	}
	return n, opError("dial", "connect", d.to, err)
}

func (d *direct) Read(p []byte) (int, error) {
	if !d.looked {
		d.looked = true
		now := time.Since(clock)
		time.Sleep((now + answerTime/2).Truncate(answerTime) + answerTime - now)
	}
	var n int
	err := error(unix.EAGAIN)
	if d.file == nil {
		n, err = unix.Read(d.fd, p)
	}
	if later(err) {
		n, err = d.poll().Read(p)
	} else if n == 0 && err == nil && len(p) > 0 {
		err = io.EOF
	}
	if err != nil && err != io.EOF {
		err = opError("read", "read", d.to, err)
	}
	return max(n, 0), err
}

// later says whether a call has to be made again when polling says so.
func later(err error) bool { return err == unix.EAGAIN || err == unix.EINTR }

// poll hands the socket to the runtime's poller.
func (d *direct) poll() *os.File {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.file == nil {
		d.file = os.NewFile(uintptr(d.fd), "tcp")
		_ = d.file.SetDeadline(d.deadline) // a socket has them
	}
	return d.file
}

// SetDeadline is for what has to be waited for.
func (d *direct) SetDeadline(at time.Time) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.deadline = at
	if d.file == nil {
		return nil
	}
	return d.file.SetDeadline(at)
}

func (d *direct) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.file != nil {
		return d.file.Close()
	}
	return unix.Close(d.fd)
}

// opError is an error as the net package words it. A deadline's stays one.
func opError(op, call string, to netip.AddrPort, err error) error {
	var errno unix.Errno
	if errors.As(err, &errno) {
		err = os.NewSyscallError(call, errno)
	}
	return &net.OpError{Op: op, Net: "tcp", Addr: net.TCPAddrFromAddrPort(to), Err: err}
}
