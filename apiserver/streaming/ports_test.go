// SPDX-License-Identifier: Apache-2.0

package streaming

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
)

// TestDialsAreBounded: a Pod that does not answer must not take a thread of the agent
// for each connection that clients want.
func TestDialsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dialed, answers := make(chan uint16, connectionsMax), make(chan struct{})
		f := newForwarder(t.Context(), func(_ context.Context, port uint16) (net.Conn, error) {
			dialed <- port
			<-answers
			return nil, errors.New("refused")
		})
		for range connectionsMax {
			f.work.Go(func() { _, _ = f.connect(80) })
		}
		synctest.Wait()
		if n := len(dialed); n != dialsMax {
			t.Errorf("%d connections are being made, not %d", n, dialsMax)
		}
		close(answers)
		f.work.Wait()
		if n := len(dialed); n != connectionsMax {
			t.Errorf("%d connections were made, not %d", n, connectionsMax)
		}
	})
}

// TestForwardingEndsWithoutItsClient: the request ends, and the client takes nothing.
func TestForwardingEndsWithoutItsClient(t *testing.T) {
	here, there := net.Pipe()
	defer there.Close()
	ctx, cancel := context.WithCancel(t.Context())
	r := httptest.NewRequestWithContext(ctx, "POST", "/", nil)
	r.Header = http.Header{"Connection": {"Upgrade"}, "Upgrade": {"SPDY/3.1"}, "X-Stream-Protocol-Version": {protocolPorts}}
	cancel()
	var s Server
	w := hijacked{httptest.NewRecorder(), here}
	if err := s.ServePorts(w, r, func(context.Context, uint16) (net.Conn, error) { return nil, errors.New("refused") }); err != nil {
		t.Error(err)
	}
}
