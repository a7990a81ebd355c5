// SPDX-License-Identifier: Apache-2.0

package streaming

import (
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"
	"time"
)

// copyStream copies until the end. That the reader was closed counts as its end.
func copyStream(w io.Writer, r io.Reader) error {
	// Hidden methods: neither side may choose another way of copying.
	_, err := io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{r}, make([]byte, messageMax))
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// progress is a connection that, once it is limited, has to go on giving something.
type progress struct {
	net.Conn
	limited atomic.Bool
}

// limit begins to ask for progress.
func (p *progress) limit() {
	p.limited.Store(true)
	_ = p.SetReadDeadline(time.Now().Add(replyTime)) // closed: reading ends anyway
}

func (p *progress) Read(b []byte) (int, error) {
	n, err := p.Conn.Read(b)
	if p.limited.Load() {
		_ = p.SetReadDeadline(time.Now().Add(replyTime))
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = errSilent
	}
	return n, err
}
