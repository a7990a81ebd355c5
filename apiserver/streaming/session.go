// SPDX-License-Identifier: Apache-2.0

package streaming

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	// IdleTime ends a session over which nothing goes in either direction, as the
	// kubelet has it.
	IdleTime = 4 * time.Hour
	// createTime is how long a SPDY client may take to open the streams it asked for.
	createTime = 30 * time.Second
	// lingerTime is how long a client may take to hang up after its session's end. A
	// connection that is closed earlier can lose what is still on the way.
	lingerTime = 10 * time.Second
	// messageMax is the largest piece of output that is sent as one message, in bytes.
	messageMax = 32 << 10
	// sizeMax bounds the JSON of a terminal's size, in bytes.
	sizeMax = 1 << 10
)

// Wanted are the streams that a request asks for.
type Wanted struct {
	Stdin, Stdout, Stderr, TTY bool
}

// Size is that of a terminal, in characters.
type Size struct {
	Width, Height uint16
}

// Session is one client's connection to a process. End must be called, once.
type Session struct {
	// Stdin is nil unless it was asked for. It is at its end when the client has closed
	// it or is gone.
	Stdin io.Reader
	// Stdout and Stderr are nil unless they were asked for. A write never fails: what
	// nobody takes any more is dropped.
	Stdout, Stderr io.Writer
	// Resize tells the terminal's size; nil without one. Sizes that nobody takes are
	// replaced by newer ones.
	Resize <-chan Size

	wire wire
	gone context.Context
}

// wire is a connection in one of the protocols.
type wire interface {
	// finish closes the outputs, sends the status, and waits until the client has
	// hung up or the time for it is over.
	finish(status *metav1.Status)
}

// Context ends when the client is not there any more.
func (s *Session) Context() context.Context { return s.gone }

// End tells the client how it ended, and closes the connection.
func (s *Session) End(status *metav1.Status) { s.wire.finish(status) }

// Server accepts sessions. It is safe for concurrent use.
type Server struct {
	buffers sync.Pool // of WebSocket messages that are being written
}

// Accept makes a session of a request. That it cannot be made has been answered when
// there is an error.
func (s *Server) Accept(w http.ResponseWriter, r *http.Request, wanted Wanted) (*Session, error) {
	if wanted.TTY {
		wanted.Stderr = false // a terminal has one output
	}
	if isWebSocket(r) {
		return s.acceptWebSocket(w, r, wanted)
	}
	return acceptSPDY(w, r, wanted)
}

// IsUpgrade tells whether a request wants to become a stream at all.
func IsUpgrade(r *http.Request) bool {
	return hasToken(r.Header, "Connection", "upgrade")
}

func isWebSocket(r *http.Request) bool {
	return IsUpgrade(r) && strings.EqualFold(r.Header.Get("Upgrade"), "websocket")
}

func hasToken(h http.Header, name, token string) bool {
	for _, value := range h.Values(name) {
		for part := range strings.SplitSeq(value, ",") {
			if strings.EqualFold(strings.TrimSpace(part), token) {
				return true
			}
		}
	}
	return false
}

// sink writes until a write fails, and drops the rest.
type sink struct {
	write  func(p []byte) error
	broken atomic.Bool
}

func (s *sink) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0 && !s.broken.Load(); {
		n := min(len(rest), messageMax)
		if s.write(rest[:n]) != nil {
			s.broken.Store(true)
		}
		rest = rest[n:]
	}
	return len(p), nil
}

// sizes hands on terminal sizes, the newest first.
type sizes struct {
	ch   chan Size
	once sync.Once
}

func newSizes() *sizes { return &sizes{ch: make(chan Size, 1)} }

// put is for one goroutine.
func (s *sizes) put(size Size) {
	select {
	case <-s.ch:
	default:
	}
	s.ch <- size
}

func (s *sizes) close() { s.once.Do(func() { close(s.ch) }) }

// read takes sizes as JSON from a stream until its end, or until something else comes,
// or something too long. It drops the rest: streams that nobody reads hold up others.
func (s *sizes) read(r io.Reader) {
	within := &io.LimitedReader{R: r}
	decoder := json.NewDecoder(within)
	for {
		var size Size
		within.N = sizeMax
		if decoder.Decode(&size) != nil {
			_, _ = io.Copy(io.Discard, r) // its end
			return
		}
		s.put(size)
	}
}

// statusText is a status as the protocols before v4 tell it: nothing, or a message.
func statusText(status *metav1.Status, asJSON bool) ([]byte, error) {
	if asJSON {
		return json.Marshal(status)
	}
	if status.Status == metav1.StatusSuccess {
		return nil, nil
	}
	return []byte(status.Message), nil
}

var errNoStreams = errors.New("the client has not opened its streams in time")
