// SPDX-License-Identifier: Apache-2.0

package streaming

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/streaming/pkg/httpstream"
	"k8s.io/streaming/pkg/httpstream/spdy"
)

// The versions of the remote command protocol over SPDY, best first: v4 tells exit
// codes, v3 terminal sizes.
const (
	spdyV4 = "v4.channel.k8s.io"
	spdyV3 = "v3.channel.k8s.io"
	spdyV2 = "v2.channel.k8s.io"
	spdyV1 = "channel.k8s.io"
)

// streamType is the header that says what a stream is for.
const streamType = "streamType"

// upgradeSPDY answers the request and returns the connection.
func upgradeSPDY(w http.ResponseWriter, r *http.Request, protocols ...string) (conn net.Conn, protocol string, err error) {
	if !IsUpgrade(r) || !hasToken(r.Header, "Upgrade", spdy.HeaderSpdy31) {
		err := errors.New("unable to upgrade: the request asks for neither SPDY/3.1 nor a WebSocket")
		http.Error(w, err.Error(), http.StatusBadRequest)
		return nil, "", err
	}
	if protocol, err = httpstream.Handshake(r, w, protocols); err != nil {
		return nil, "", err // answered
	}
	hijacker, ok := hijackable(w).(http.Hijacker)
	if !ok {
		err := errors.New("unable to upgrade: this connection cannot be taken over")
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return nil, "", err
	}
	w.Header().Set("Connection", "Upgrade")
	w.Header().Set("Upgrade", spdy.HeaderSpdy31)
	w.WriteHeader(http.StatusSwitchingProtocols)
	conn, buffered, err := hijacker.Hijack()
	if err != nil {
		return nil, "", fmt.Errorf("take over the connection: %w", err)
	}
	if err := conn.SetDeadline(time.Time{}); err != nil { // those of the request
		return nil, "", errors.Join(err, conn.Close())
	}
	return &bufferedConn{conn, buffered.Reader}, protocol, nil
}

// bufferedConn reads first what the HTTP server has read ahead.
type bufferedConn struct {
	net.Conn
	reader *bufio.Reader
}

func (c *bufferedConn) Read(p []byte) (int, error) { return c.reader.Read(p) }

// opened is a stream that the client has opened.
type opened struct {
	httpstream.Stream
	replied <-chan struct{}
}

// acceptSPDY takes a remote command over SPDY.
func acceptSPDY(w http.ResponseWriter, r *http.Request, wanted Wanted) (*Session, error) {
	conn, protocol, err := upgradeSPDY(w, r, spdyV4, spdyV3, spdyV2, spdyV1)
	if err != nil {
		return nil, err
	}
	kinds := map[string]bool{"error": true}
	for kind, want := range map[string]bool{
		"stdin": wanted.Stdin, "stdout": wanted.Stdout, "stderr": wanted.Stderr,
		"resize": wanted.TTY && (protocol == spdyV4 || protocol == spdyV3),
	} {
		if want {
			kinds[kind] = true
		}
	}
	arrived := make(chan opened, len(kinds))
	frames, err := spdy.NewServerConnection(conn, func(s httpstream.Stream, replied <-chan struct{}) error {
		kind := s.Headers().Get(streamType)
		if !kinds[kind] {
			return fmt.Errorf("stream of type %q was not asked for", kind)
		}
		select {
		case arrived <- opened{s, replied}:
			return nil
		default:
			return errors.New("too many streams")
		}
	})
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	frames.SetIdleTimeout(IdleTime)
	c := &spdyWire{frames: frames, conn: conn, json: protocol == spdyV4}
	if c.streams, err = await(r.Context(), frames, arrived, kinds); err != nil {
		c.close()
		return nil, err
	}
	return c.session(r.Context()), nil
}

// await collects the streams. Their replies must be on the way before the connection
// may be closed.
func await(ctx context.Context, conn httpstream.Connection, arrived <-chan opened, kinds map[string]bool) (map[string]httpstream.Stream, error) {
	timeout := time.NewTimer(createTime)
	defer timeout.Stop()
	streams := make(map[string]httpstream.Stream)
	for len(streams) < len(kinds) {
		select {
		case s := <-arrived:
			streams[s.Headers().Get(streamType)] = s.Stream
			select {
			case <-s.replied:
			case <-conn.CloseChan():
				return nil, net.ErrClosed
			}
		case <-conn.CloseChan():
			return nil, net.ErrClosed
		case <-timeout.C:
			return nil, errNoStreams
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return streams, nil
}

// spdyWire is a remote command's SPDY connection.
type spdyWire struct {
	frames  httpstream.Connection
	conn    net.Conn
	streams map[string]httpstream.Stream
	stdin   *io.PipeReader // nil without
	json    bool
	stop    func() bool
	sizes   *sizes // nil without
}

func (c *spdyWire) session(ctx context.Context) *Session {
	gone, cancel := context.WithCancel(ctx)
	go func() {
		<-c.frames.CloseChan()
		cancel()
	}()
	c.stop = context.AfterFunc(ctx, func() { _ = c.conn.Close() })
	s := &Session{wire: c, gone: gone}
	if stdin := c.streams["stdin"]; stdin != nil {
		var w *io.PipeWriter
		c.stdin, w = io.Pipe()
		s.Stdin = c.stdin
		go func() {
			_, _ = io.Copy(w, stdin) // nobody reads it any more
			_ = w.Close()
			_, _ = io.Copy(io.Discard, stdin) // or it would hold up the other streams
		}()
	}
	for kind, out := range map[string]*io.Writer{"stdout": &s.Stdout, "stderr": &s.Stderr} {
		if stream := c.streams[kind]; stream != nil {
			*out = &sink{write: func(p []byte) error {
				_, err := stream.Write(p)
				return err
			}}
		}
	}
	if resize := c.streams["resize"]; resize != nil {
		c.sizes = newSizes()
		s.Resize = c.sizes.ch
		go func() {
			defer c.sizes.close()
			c.sizes.read(resize)
		}()
	}
	return s
}

func (c *spdyWire) finish(status *metav1.Status) {
	defer c.close()
	// A client that takes nothing any more must not hold the session.
	_ = c.conn.SetWriteDeadline(time.Now().Add(lingerTime))
	if c.stdin != nil {
		_ = c.stdin.Close() // what still comes is dropped
	}
	for _, kind := range []string{"stdin", "stdout", "stderr"} {
		if stream := c.streams[kind]; stream != nil {
			_ = stream.Close() // the connection may be gone; the status tells
		}
	}
	text, err := statusText(status, c.json)
	if err == nil && len(text) > 0 {
		_, err = c.streams["error"].Write(text)
	}
	if err == nil {
		err = c.streams["error"].Close()
	}
	if err != nil {
		return
	}
	select {
	case <-c.frames.CloseChan():
	case <-time.After(lingerTime):
	}
}

// close frees the streams and then the connection for certain.
func (c *spdyWire) close() {
	if c.stop != nil {
		c.stop()
	}
	_ = c.frames.Close()
	_ = c.conn.Close() // closed already when all went well
}
