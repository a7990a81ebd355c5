// SPDX-License-Identifier: Apache-2.0

package streaming

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"k8s.io/streaming/pkg/httpstream"
	"k8s.io/streaming/pkg/httpstream/spdy"
)

const (
	protocolPorts = "portforward.k8s.io"
	// portHeader and requestHeader say on each stream of a pair, "data" and "error",
	// which port is meant and which pair it is.
	portHeader, requestHeader = "port", "requestID"
	// connectionsMax is how many connections one session may have at a time.
	connectionsMax = 256
	// dialsMax is how many of them may be made at a time: in a Pod's network, each has a
	// thread for as long as the Pod does not answer.
	dialsMax = 16
)

// Dialer connects to a port, a number of 1 to 65535. The text of its errors is shown
// to the client.
type Dialer func(ctx context.Context, port uint16) (net.Conn, error)

// ServePorts forwards connections until the client hangs up or the request's context
// ends. An error has been answered.
func (s *Server) ServePorts(w http.ResponseWriter, r *http.Request, dial Dialer) error {
	var conn net.Conn
	var err error
	if isWebSocket(r) {
		conn, err = s.acceptTunnel(w, r)
	} else {
		conn, _, err = upgradeSPDY(w, r, protocolPorts)
	}
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx, cancel := context.WithCancel(r.Context())
	f := newForwarder(ctx, dial)
	frames, err := spdy.NewServerConnection(conn, f.open)
	if err != nil {
		cancel()
		return err
	}
	f.conn = frames
	close(f.ready)
	frames.SetIdleTimeout(IdleTime)
	select {
	case <-frames.CloseChan():
	case <-ctx.Done():
		_ = conn.Close() // or a client that takes nothing would hold what is still to be written
	}
	cancel()
	_ = frames.Close() // the client has gone
	_ = conn.Close()
	f.work.Wait()
	return nil
}

// forwarder is a port forwarding session.
type forwarder struct {
	ctx  context.Context
	dial Dialer
	// conn is set when ready is closed.
	conn  httpstream.Connection
	ready chan struct{}
	work  sync.WaitGroup
	dials chan struct{} // holds one for each that is under way

	mu    sync.Mutex
	pairs map[string]*pair
}

func newForwarder(ctx context.Context, dial Dialer) *forwarder {
	return &forwarder{
		ctx: ctx, dial: dial, pairs: make(map[string]*pair), ready: make(chan struct{}), dials: make(chan struct{}, dialsMax),
	}
}

// pair are the streams of one connection.
type pair struct {
	id          string
	port        uint16
	data, error httpstream.Stream
	late        *time.Timer
}

// open takes a stream that the client opens; an error rejects it.
func (f *forwarder) open(s httpstream.Stream, replied <-chan struct{}) error {
	<-f.ready
	port, err := strconv.ParseUint(s.Headers().Get(portHeader), 10, 16)
	if err != nil || port == 0 {
		return fmt.Errorf("port %q is not a number of 1 to 65535", s.Headers().Get(portHeader))
	}
	kind := s.Headers().Get(streamType)
	id := s.Headers().Get(requestHeader)
	if id == "" { // old clients open the two one after the other, the error's first
		n := s.Identifier()
		if kind == "data" {
			n -= 2
		}
		id = strconv.FormatUint(uint64(n), 10)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	p := f.pairs[id]
	if p == nil {
		if len(f.pairs) >= connectionsMax {
			return fmt.Errorf("more than %d connections at the same time", connectionsMax)
		}
		p = &pair{id: id, port: uint16(port)}
		p.late = time.AfterFunc(createTime, func() { f.expire(p) })
		f.pairs[id] = p
	}
	switch {
	case kind == "data" && p.data == nil:
		p.data = s
	case kind == "error" && p.error == nil:
		p.error = s
	default:
		return fmt.Errorf("stream of type %q is not expected", kind)
	}
	if p.data != nil && p.error != nil && p.late.Stop() && f.ctx.Err() == nil {
		f.work.Go(func() {
			select {
			case <-replied:
			case <-f.ctx.Done():
			}
			f.forward(p)
		})
	}
	return nil
}

// expire gives up a pair that was not completed in time.
func (f *forwarder) expire(p *pair) {
	f.mu.Lock()
	streams := []httpstream.Stream{p.data, p.error}
	f.mu.Unlock()
	for _, s := range streams {
		if s != nil {
			_ = s.Reset() // the connection may be gone
		}
	}
	f.forget(p)
}

func (f *forwarder) forget(p *pair) {
	f.conn.RemoveStreams(p.data, p.error)
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.pairs, p.id)
}

// forward carries one connection.
func (f *forwarder) forward(p *pair) {
	defer f.forget(p)
	conn, err := f.connect(p.port)
	if err == nil {
		err = f.carry(conn, p.data)
	}
	if err != nil && f.ctx.Err() == nil {
		_, _ = p.error.Write([]byte(err.Error())) // the client may be gone
	}
	_ = p.error.Close()
	_ = p.data.Reset() // nothing more is taken
}

// connect dials when it is its turn.
func (f *forwarder) connect(port uint16) (net.Conn, error) {
	select {
	case f.dials <- struct{}{}:
		defer func() { <-f.dials }()
		return f.dial(f.ctx, port)
	case <-f.ctx.Done():
		return nil, f.ctx.Err()
	}
}

const (
	// closingTime is how long the client may still send when the Pod has said its last:
	// Kubernetes' own clients send nothing then.
	closingTime = time.Second
	// replyTime is how long a Pod may be silent after the client has said its last. What
	// a client that has left looks like is the same.
	replyTime = 30 * time.Second
)

// carry copies in both directions, each of which may end before the other.
func (f *forwarder) carry(conn net.Conn, data httpstream.Stream) error {
	defer conn.Close()
	stop := context.AfterFunc(f.ctx, func() { _ = conn.Close() })
	defer stop()
	down := &progress{Conn: conn}
	upDone, downDone := make(chan error, 1), make(chan error, 1)
	f.work.Go(func() {
		err := copyStream(conn, data)
		if half, ok := conn.(interface{ CloseWrite() error }); ok && err == nil {
			err = half.CloseWrite()
		}
		down.limit()
		upDone <- err
	})
	f.work.Go(func() {
		err := copyStream(data, down)
		_ = data.Close() // the client may be gone
		downDone <- err
	})
	var err error
	select {
	case err = <-downDone:
		select {
		case <-upDone:
		case <-time.After(closingTime):
		}
	case err = <-upDone:
		if downErr := <-downDone; err == nil && !errors.Is(downErr, errSilent) {
			err = downErr
		}
	}
	return err
}

var errSilent = errors.New("nothing was sent for a while")
