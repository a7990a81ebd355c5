// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
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
	conn, err := open(ctx, request.URL.Hostname(), port)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) }) // fails on a closed connection only
	exchange := &exchange{connection: conn, ctx: ctx, stop: stop}
	response, err := exchange.ask(request)
	if err != nil {
		_ = exchange.Close() // err is what went wrong
		return nil, err
	}
	return response, nil
}

// exchange is a connection with the one request that it serves.
type exchange struct {
	connection
	ctx  context.Context
	stop func() bool
	body io.ReadCloser
}

func (e *exchange) ask(request *http.Request) (*http.Response, error) {
	alone := *request
	alone.Close = true
	text := bytes.NewBuffer(make([]byte, 0, readBuffer/2))
	if err := alone.Write(text); err != nil {
		return nil, err
	}
	if _, err := e.connection.Write(text.Bytes()); err != nil {
		return nil, e.cause(err)
	}
	reader := bufio.NewReaderSize(e.connection, readBuffer)
	for {
		response, err := http.ReadResponse(reader, request)
		if err != nil {
			return nil, e.cause(err)
		}
		if response.StatusCode >= http.StatusOK || response.StatusCode == http.StatusSwitchingProtocols {
			e.body, response.Body = response.Body, e
			return response, nil
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
