// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// direct is a TCP connection for one exchange, made with few system calls: it waits for
// nothing until it is read from or written to as a connection; then the runtime's poller
// does. Errors are the net package's.
type direct struct {
	fd int
	to netip.AddrPort
	// talked: there is or was a connection.
	talked bool
	// broken is what receive failed with: a socket tells its error once.
	broken error

	mu sync.Mutex
	// file is what polls, once that is needed; deadline is for it.
	file     *os.File
	deadline time.Time
}

// dialDirect begins to connect to an IPv4 address. A peer on this machine has answered
// by the time that it returns.
func dialDirect(to netip.AddrPort) (*direct, error) {
	fd, err := rawSocket()
	if err != nil {
		return nil, opError("dial", "socket", to, err)
	}
	d := &direct{fd: fd, to: to}
	// The request is the acknowledgement of the peer's answer: one packet less. Best
	// effort.
	_ = rawSet[int32](fd, unix.IPPROTO_TCP, unix.TCP_QUICKACK, 0)
	if err := d.connect(); err != nil && !later(err) {
		_ = rawClose(fd) // err is what went wrong
		return nil, opError("dial", "connect", to, err)
	}
	return d, nil
}

// connect is nil when there is a connection; see later.
func (d *direct) connect() error {
	return rawConnect(d.fd, d.to)
}

// later says whether a call has to be made again when polling says so.
func later(err error) bool {
	return err == unix.EAGAIN || err == unix.EINTR || err == unix.EINPROGRESS || err == unix.EALREADY
}

// send sends what can be sent without waiting, maybe nothing.
func (d *direct) send(p []byte) (int, error) {
	n, err := rawWrite(d.fd, p)
	if later(err) {
		return 0, nil
	}
	d.talked = d.talked || err == nil
	return n, d.failure("write", err)
}

// receive reads what has come; more may come unless there is an error, which Read and
// Write repeat. The end is io.EOF.
func (d *direct) receive(p []byte) (n int, err error) {
	for n < len(p) && err == nil {
		var more int
		more, err = rawRead(d.fd, p[n:])
		if n += more; more == 0 && err == nil {
			err = io.EOF
		}
	}
	switch {
	case later(err):
		err = nil
	case err != io.EOF:
		d.broken = d.failure("read", err)
	}
	return n, err
}

// Write and Read are those of a net.Conn.
func (d *direct) Write(p []byte) (int, error) {
	if d.broken != nil {
		return 0, d.broken
	}
	n, err := d.poll().Write(p)
	d.talked = d.talked || err == nil
	return n, d.failure("write", err)
}

func (d *direct) Read(p []byte) (int, error) {
	if d.broken != nil {
		return 0, d.broken
	}
	n, err := d.poll().Read(p)
	if err == io.EOF {
		return n, err
	}
	return n, d.failure("read", err)
}

// failure is err as the net package words it: as long as there is no connection, it is
// that of the connection.
func (d *direct) failure(op string, err error) error {
	switch {
	case err == nil:
		return nil
	case d.talked, errors.Is(err, unix.EPIPE), errors.Is(err, unix.ECONNRESET):
		return opError(op, op, d.to, err)
	}
	return opError("dial", "connect", d.to, err)
}

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
	return rawClose(d.fd)
}

// part closes a connection that the peer has closed already, without the goodbye that
// has both ends, and the node's connection tracking, remember it for a minute or two. A
// full node's probes would fill a small node's table.
func (d *direct) part() error {
	// Best effort: without it, the goodbye is said.
	_ = rawSet(d.fd, unix.SOL_SOCKET, unix.SO_LINGER, unix.Linger{Onoff: 1})
	return d.Close()
}

// opError is an error as the net package words it. A deadline's stays one.
func opError(op, call string, to netip.AddrPort, err error) error {
	var errno unix.Errno
	if errors.As(err, &errno) {
		err = os.NewSyscallError(call, errno)
	}
	return &net.OpError{Op: op, Net: "tcp", Addr: net.TCPAddrFromAddrPort(to), Err: err}
}
