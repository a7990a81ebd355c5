// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net/http"
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Quick is a probe over HTTP without encryption, or over TCP, to an IPv4 address, as
// most are, in steps of which none waits: many are made in one goroutine, with a part of
// the system calls and of the switches of threads that cost most of a probe. What the
// steps do not come to an end with, Finish does, with the rules of Prober.Run.
//
// A Quick is for one probe after the other: Begin, then Look, then, unless that saw the
// end, Finish. It is not safe for concurrent use.
type Quick struct {
	prober *Prober
	spec   *corev1.Probe
	target Target
	to     netip.AddrPort
	// request and its text; none for a probe over TCP.
	request *http.Request
	text    []byte

	// Of the probe under way: its connection, or what went wrong; how much of the text
	// was sent; what was read.
	began time.Time
	conn  *direct
	err   error
	sent  int
	got   []byte
}

// AnswerTime is how long a container has between Begin and Look. One that takes longer
// costs more.
const AnswerTime = 10 * time.Millisecond

// Quick prepares a defaulted probe of a target; nil if it is none of the sort. The probe
// is the same as long as the target's address is.
func (p *Prober) Quick(spec *corev1.Probe, target Target) *Quick {
	q := &Quick{prober: p, spec: spec, target: target}
	var address string
	var err error
	switch {
	case spec.HTTPGet != nil && spec.HTTPGet.Scheme != corev1.URISchemeHTTPS:
		if q.request, err = NewRequest(context.Background(), spec.HTTPGet, target, "probe"); err != nil {
			return nil
		}
		address = q.request.URL.Host
		if q.text, err = textOf(q.request); err != nil {
			return nil
		}
	case spec.TCPSocket != nil:
		if address, err = target.address(spec.TCPSocket.Host, spec.TCPSocket.Port); err != nil {
			return nil
		}
	}
	if q.to, err = netip.ParseAddrPort(address); err != nil || !q.to.Addr().Is4() {
		return nil
	}
	return q
}

// Begin connects and asks.
func (q *Quick) Begin() {
	q.began, q.sent, q.got = time.Now(), 0, nil
	if q.conn, q.err = dialDirect(q.to); q.err == nil && q.request != nil {
		q.sent, q.err = q.conn.send(q.text)
	}
}

// GiveUp ends a probe between two steps.
func (q *Quick) GiveUp() {
	if q.conn != nil {
		_ = q.conn.Close() // nothing is expected of it any more
		q.conn = nil
	}
}

// Look says what a probe came to, if that is a success and can be seen already.
func (q *Quick) Look() (outcome Outcome, over bool) {
	switch {
	case q.err != nil:
		return outcome, false
	case q.request == nil:
		if over = q.conn.connect() == nil; over {
			q.GiveUp()
		}
		return Outcome{Result: Success}, over
	}
	d := q.prober.desks.Get().(*desk)
	defer q.prober.desks.Put(d)
	n, err := q.conn.receive(d.buffer[:])
	ended := err == io.EOF
	if outcome, over = d.read(n, q.request, ended); !over {
		q.got = bytes.Clone(d.buffer[:n])
		return outcome, false
	}
	if ended {
		_ = q.conn.part() // the answer is here
		q.conn = nil
	} else {
		q.GiveUp()
	}
	return outcome, true
}

// Finish waits for what Look did not see, bounded by the probe's timeout.
func (q *Quick) Finish(ctx context.Context) (Outcome, error) {
	defer q.GiveUp()
	return q.prober.try(ctx, q.spec, q.target, q.began, func(ctx context.Context, _ *corev1.Probe, _ Target, _ time.Duration) (Outcome, error) {
		if q.request != nil {
			return q.prober.get(q.request.WithContext(ctx), &resumed{Quick: q, then: q.prober.transport})
		}
		if q.err != nil {
			return Outcome{Failure, q.err.Error()}, nil
		}
		return connect(ctx, q.to.String()), nil
	})
}

// resumed goes on with the request that was begun, and makes those after it.
type resumed struct {
	*Quick
	then http.RoundTripper
}

func (r *resumed) RoundTrip(request *http.Request) (*http.Response, error) {
	conn, err := r.conn, r.err
	switch r.conn = nil; {
	case err != nil && conn != nil:
		_ = conn.Close() // err is what went wrong
		return nil, err
	case err != nil:
		return nil, err
	case conn == nil:
		return r.then.RoundTrip(request)
	}
	return newExchange(request.Context(), conn).ask(request, r.text[r.sent:], r.got)
}

// desk is where answers are read.
type desk struct {
	buffer [outputMax + 2<<10]byte
	bytes  bytes.Reader
	lines  *bufio.Reader
}

func newDesk() any { return &desk{lines: bufio.NewReaderSize(nil, readBuffer)} }

// read takes the first n bytes of the buffer for an answer; over says that they are all
// of it and that it is a success. ended: the server has hung up.
func (d *desk) read(n int, request *http.Request, ended bool) (outcome Outcome, over bool) {
	d.bytes.Reset(d.buffer[:n])
	d.lines.Reset(&d.bytes)
	response, err := http.ReadResponse(d.lines, request)
	if err != nil || response.StatusCode < http.StatusOK || response.StatusCode >= http.StatusMultipleChoices {
		return outcome, false
	}
	if !ended && response.ContentLength < 0 && len(response.TransferEncoding) == 0 {
		return outcome, false // the answer is as long as the connection
	}
	outcome, err = outcomeOf(response)
	return outcome, err == nil
}
