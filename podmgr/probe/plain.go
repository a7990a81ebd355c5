// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"time"
)

// plain makes requests over HTTP/1.1 without encryption, each over a connection of
// its own and in the goroutine of its caller. An http.Transport does the same with
// two more goroutines: probes are many, and that is most of what they cost.
// Requests for https go to the transport.
type plain struct{ secure http.RoundTripper }

// readBuffer suits the answers to probes; longer ones are read in more steps.
const readBuffer = 1 << 10

// RoundTrip is that of http.RoundTripper, for requests without a body.
func (p plain) RoundTrip(request *http.Request) (*http.Response, error) {
	if request.URL.Scheme != "http" {
		return p.secure.RoundTrip(request)
	}
	ctx := request.Context()
	port := request.URL.Port()
	if port == "" {
		port = "80"
	}
	text, err := textOf(request)
	if err != nil {
		return nil, err
	}
	conn, err := dialer().DialContext(ctx, "tcp", net.JoinHostPort(request.URL.Hostname(), port))
	if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) {
		return nil, context.DeadlineExceeded // without what it was spent on, as http.Transport puts it
	}
	if err != nil {
		return nil, err
	}
	return newExchange(ctx, conn).ask(request, text, nil)
}

// textOf a request as it is sent.
func textOf(request *http.Request) ([]byte, error) {
	alone := *request
	alone.Close = true
	text := bytes.NewBuffer(make([]byte, 0, readBuffer/2))
	err := alone.Write(text)
	return text.Bytes(), err
}

// connection is what an exchange needs of one.
type connection interface {
	io.ReadWriteCloser
	SetDeadline(time.Time) error
}

// exchange is a connection with the one request that it serves.
type exchange struct {
	connection
	ctx  context.Context
	stop func() bool
	body io.ReadCloser
}

func newExchange(ctx context.Context, conn connection) *exchange {
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) }) // fails on a closed connection only
	return &exchange{connection: conn, ctx: ctx, stop: stop}
}

// ask sends what is to be sent of a request's text, and reads the answer, of which the
// beginning may be here. Without an answer the connection is closed.
func (e *exchange) ask(request *http.Request, text, begun []byte) (*http.Response, error) {
	response, err := e.answer(request, text, begun)
	if err != nil {
		_ = e.Close() // err is what went wrong
		return nil, e.cause(err)
	}
	e.body, response.Body = response.Body, e
	return response, nil
}

func (e *exchange) answer(request *http.Request, text, begun []byte) (*http.Response, error) {
	if len(text) > 0 {
		if _, err := e.connection.Write(text); err != nil {
			return nil, err
		}
	}
	reader := bufio.NewReaderSize(io.MultiReader(bytes.NewReader(begun), e.connection), readBuffer)
	for {
		response, err := http.ReadResponse(reader, request)
		if err != nil || response.StatusCode >= http.StatusOK || response.StatusCode == http.StatusSwitchingProtocols {
			return response, err
		}
	}
}

// cause is that of the context, when its end is why the connection failed.
func (e *exchange) cause(err error) error {
	switch {
	case e.ctx.Err() != nil && errors.Is(err, os.ErrDeadlineExceeded):
		return e.ctx.Err()
	case errors.Is(err, io.ErrUnexpectedEOF):
		return io.EOF // the server hung up, as http.Transport puts it
	}
	return err
}

// Read and Close are those of the answer's body.
func (e *exchange) Read(p []byte) (int, error) {
	n, err := e.body.Read(p)
	if err != nil && err != io.EOF {
		err = e.cause(err)
	}
	return n, err
}

func (e *exchange) Close() error {
	e.stop()
	return e.connection.Close()
}
