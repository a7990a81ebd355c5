// SPDX-License-Identifier: Apache-2.0

// Package attach is the protocol in which the agent attaches to containers: the shim,
// which holds their streams, listens on a unix socket for each Pod. It imports nothing
// of this module.
//
// A client sends a Request and then frames with input; the shim sends frames with what
// the container writes from then on. The shim hangs up at the end of the container's
// output. A client that leaves hangs up too, whether it has sent the end of its input
// or not.
package attach

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// Kind says what a frame is.
type Kind byte

// The kinds of frames.
const (
	// Ready is the first frame of the shim: what is written from now on will come.
	Ready Kind = iota
	// Stdin frames carry input, and an empty one its end.
	Stdin
	// Stdout and Stderr frames carry output; a terminal's is Stdout.
	Stdout
	Stderr
	// Refused tells why there is nothing to attach to; the shim hangs up.
	Refused
)

const (
	// PayloadMax bounds a frame, in bytes.
	PayloadMax = 64 << 10
	headerSize = 5
	requestMax = 1 << 10
	// requestTime bounds the exchange that comes before the streams.
	requestTime = 10 * time.Second
)

// Request is what a client wants.
type Request struct {
	// ID is the container's.
	ID string `json:"id"`
	// Stdin asks to send input.
	Stdin bool `json:"stdin,omitempty"`
	// Once closes the container's input for good at the end of this client's.
	Once bool `json:"once,omitempty"`
}

// Conn is one end of an attachment. Reading is for one goroutine; writing is safe for
// concurrent use.
type Conn struct {
	conn    net.Conn
	payload []byte
	writing sync.Mutex
}

// Dial attaches to a container.
func Dial(ctx context.Context, path string, r Request) (*Conn, error) {
	raw, err := new(net.Dialer).DialContext(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	c := &Conn{conn: raw, payload: make([]byte, PayloadMax)}
	if err := c.request(r); err != nil {
		return nil, errors.Join(err, raw.Close())
	}
	return c, nil
}

func (c *Conn) request(r Request) error {
	if err := c.conn.SetDeadline(time.Now().Add(requestTime)); err != nil {
		return err
	}
	data, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if _, err := c.conn.Write(append(data, '\n')); err != nil {
		return err
	}
	kind, payload, err := c.Next()
	switch {
	case err != nil:
		return fmt.Errorf("the shim does not answer: %w", err)
	case kind == Refused:
		return errors.New(string(payload))
	case kind != Ready:
		return fmt.Errorf("the shim sends a frame of kind %d first", kind)
	}
	return c.conn.SetDeadline(time.Time{})
}

// Accept reads the request of a client that has connected.
func Accept(conn net.Conn) (*Conn, Request, error) {
	var r Request
	if err := conn.SetReadDeadline(time.Now().Add(requestTime)); err != nil {
		return nil, r, err
	}
	// Byte by byte: what follows belongs to the frames.
	var line []byte
	for !bytes.HasSuffix(line, []byte{'\n'}) {
		var one [1]byte
		if len(line) == requestMax {
			return nil, r, errors.New("the request is too long")
		}
		if _, err := io.ReadFull(conn, one[:]); err != nil {
			return nil, r, err
		}
		line = append(line, one[0])
	}
	if err := json.Unmarshal(line, &r); err != nil {
		return nil, r, fmt.Errorf("the request: %w", err)
	}
	return &Conn{conn: conn}, r, conn.SetReadDeadline(time.Time{})
}

// Next reads a frame. The payload is good until the next call. A peer that has hung up
// is io.EOF.
func (c *Conn) Next() (Kind, []byte, error) {
	var header [headerSize]byte
	if _, err := io.ReadFull(c.conn, header[:]); err != nil {
		return 0, nil, err
	}
	n := binary.BigEndian.Uint32(header[1:])
	if n > PayloadMax {
		return 0, nil, fmt.Errorf("a frame of %d bytes", n)
	}
	if int(n) > len(c.payload) {
		c.payload = make([]byte, n)
	}
	_, err := io.ReadFull(c.conn, c.payload[:n])
	return Kind(header[0]), c.payload[:n], err
}

// Send writes a frame with at most PayloadMax bytes. With a time it gives up then; the
// connection is of no use after that.
func (c *Conn) Send(kind Kind, payload []byte, limit time.Duration) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	if limit > 0 {
		if err := c.conn.SetWriteDeadline(time.Now().Add(limit)); err != nil {
			return err
		}
	}
	var header [headerSize]byte
	header[0] = byte(kind)
	binary.BigEndian.PutUint32(header[1:], uint32(len(payload)))
	frame := net.Buffers{header[:], payload}
	_, err := frame.WriteTo(c.conn)
	return err
}

// Close hangs up.
func (c *Conn) Close() error { return c.conn.Close() }
