// SPDX-License-Identifier: Apache-2.0

package streaming

import (
	"context"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/websocket"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The channels of a remote command: the first byte of each message. closeChannel,
// followed by the number of another, closes that one; v5 has it.
const (
	stdinChannel, stdoutChannel, stderrChannel, errorChannel, resizeChannel = 0, 1, 2, 3, 4
	closeChannel                                                            = 255
)

// The subprotocols for remote commands, best first.
const (
	protocolV5     = "v5.channel.k8s.io"
	protocolV4     = "v4.channel.k8s.io"
	protocolV4Text = "v4.base64.channel.k8s.io"
	protocolV1     = "channel.k8s.io"
	protocolV1Text = "base64.channel.k8s.io"
)

// upgrader is for the given subprotocols. A request of another origin than the
// server's own is refused: a browser would make it with the user's credentials on
// behalf of any page.
func (s *Server) upgrader(protocols ...string) *websocket.Upgrader {
	return &websocket.Upgrader{Subprotocols: protocols, WriteBufferPool: &s.buffers, WriteBufferSize: messageMax + 64}
}

// acceptWebSocket takes a remote command over a WebSocket.
func (s *Server) acceptWebSocket(w http.ResponseWriter, r *http.Request, wanted Wanted) (*Session, error) {
	upgrader := s.upgrader(protocolV5, protocolV4, protocolV4Text, protocolV1, protocolV1Text)
	if asked := websocket.Subprotocols(r); len(asked) > 0 && !overlap(asked, upgrader.Subprotocols) {
		err := errors.New("unable to upgrade: the server speaks " + strings.Join(upgrader.Subprotocols, ", "))
		http.Error(w, err.Error(), http.StatusForbidden)
		return nil, err
	}
	conn, err := upgrader.Upgrade(hijackable(w), r, nil)
	if err != nil {
		return nil, err
	}
	gone, cancel := context.WithCancel(r.Context())
	c := &socket{conn: conn, protocol: conn.Subprotocol(), cancel: cancel, linger: lingerTime, done: make(chan struct{})}
	c.idle = time.AfterFunc(IdleTime, func() { _ = conn.Close() })
	session := &Session{wire: c, gone: gone}
	if wanted.Stdin {
		c.stdinReader, c.stdin = io.Pipe()
		session.Stdin = c.stdinReader
	}
	lowest := byte(errorChannel)
	if wanted.Stderr {
		session.Stderr, lowest = c.sink(stderrChannel), stderrChannel
	}
	if wanted.Stdout {
		session.Stdout, lowest = c.sink(stdoutChannel), stdoutChannel
	}
	if wanted.TTY {
		c.sizes = newSizes()
		session.Resize = c.sizes.ch
	}
	c.stop = context.AfterFunc(r.Context(), func() { _ = conn.Close() })
	_ = c.write(lowest, nil) // tells clients that the session stands; reading finds out if there is none
	go c.read()
	return session, nil
}

func overlap(a, b []string) bool {
	for _, x := range a {
		for _, y := range b {
			if x == y {
				return true
			}
		}
	}
	return false
}

// socket is a remote command's WebSocket.
type socket struct {
	conn     *websocket.Conn
	protocol string
	idle     *time.Timer
	cancel   context.CancelFunc
	stop     func() bool
	linger   time.Duration // see lingerTime

	writing sync.Mutex

	stdin       *io.PipeWriter // nil without
	stdinReader *io.PipeReader
	sizes       *sizes        // nil without
	done        chan struct{} // closed when reading has ended
}

func (c *socket) isText() bool {
	return c.protocol == protocolV4Text || c.protocol == protocolV1Text
}

func (c *socket) sink(channel byte) *sink {
	return &sink{write: func(p []byte) error { return c.write(channel, p) }}
}

// write sends one message.
func (c *socket) write(channel byte, p []byte) error {
	c.idle.Reset(IdleTime)
	c.writing.Lock()
	defer c.writing.Unlock()
	if c.isText() {
		return c.conn.WriteMessage(websocket.TextMessage, base64.StdEncoding.AppendEncode([]byte{'0' + channel}, p))
	}
	message, err := c.conn.NextWriter(websocket.BinaryMessage)
	if err != nil {
		return err
	}
	if _, err := message.Write([]byte{channel}); err != nil {
		return err
	}
	if _, err := message.Write(p); err != nil {
		return err
	}
	return message.Close()
}

// read hands on what the client sends until it hangs up.
func (c *socket) read() {
	defer close(c.done)
	defer c.cancel()
	defer c.closeInput(stdinChannel)
	defer c.closeInput(resizeChannel)
	for {
		_, message, err := c.conn.NextReader()
		if err != nil {
			return
		}
		c.idle.Reset(IdleTime)
		var channel [1]byte
		if _, err := io.ReadFull(message, channel[:]); err != nil {
			continue // an empty message means nothing
		}
		if c.isText() {
			channel[0] -= '0'
			message = base64.NewDecoder(base64.StdEncoding, message)
		}
		switch channel[0] {
		case stdinChannel:
			if c.stdin != nil {
				_, _ = io.Copy(c.stdin, message) // closed: nobody reads it
			}
		case resizeChannel:
			if c.sizes != nil {
				c.sizes.read(message)
			}
		case closeChannel:
			if _, err := io.ReadFull(message, channel[:]); err == nil && c.protocol == protocolV5 {
				c.closeInput(channel[0])
			}
		}
	}
}

// closeInput ends what the client sends over a channel. It is for the goroutine that
// reads.
func (c *socket) closeInput(channel byte) {
	switch {
	case channel == stdinChannel && c.stdin != nil:
		_ = c.stdin.Close()
	case channel == resizeChannel && c.sizes != nil:
		c.sizes.close()
	}
}

func (c *socket) finish(status *metav1.Status) {
	defer c.cancel()
	defer c.stop()
	defer c.idle.Stop()
	if c.stdinReader != nil {
		_ = c.stdinReader.Close() // what still comes is dropped
	}
	// A client that takes nothing any more must not hold the session, and a deadline is
	// for the writes that come.
	over := time.AfterFunc(c.linger, func() { _ = c.conn.Close() })
	defer over.Stop()
	text, err := statusText(status, c.protocol == protocolV5 || c.protocol == protocolV4 || c.protocol == protocolV4Text)
	if err == nil && len(text) > 0 {
		err = c.write(errorChannel, text)
	}
	if err == nil {
		err = c.conn.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.CloseNormalClosure, ""), time.Now().Add(lingerTime))
	}
	if err != nil {
		_ = c.conn.Close()
	}
	<-c.done
	_ = c.conn.Close()
}

// hijackable finds the writer that can give up its connection among those that wrap
// it.
func hijackable(w http.ResponseWriter) http.ResponseWriter {
	for {
		if _, ok := w.(http.Hijacker); ok {
			return w
		}
		wrapped, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			return w
		}
		w = wrapped.Unwrap()
	}
}
