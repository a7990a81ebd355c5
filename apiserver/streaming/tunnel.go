// SPDX-License-Identifier: Apache-2.0

package streaming

import (
	"errors"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/gorilla/websocket"
)

// tunnelPorts is the WebSocket subprotocol that carries SPDY for port forwarding.
const tunnelPorts = "SPDY/3.1+portforward.k8s.io"

// acceptTunnel makes a connection of a WebSocket.
func (s *Server) acceptTunnel(w http.ResponseWriter, r *http.Request) (*tunnel, error) {
	if !slices.Contains(websocket.Subprotocols(r), tunnelPorts) {
		err := errors.New("unable to upgrade: port forwarding over a WebSocket needs the subprotocol " + tunnelPorts)
		http.Error(w, err.Error(), http.StatusForbidden)
		return nil, err
	}
	conn, err := s.upgrader(tunnelPorts).Upgrade(hijackable(w), r, nil)
	if err != nil {
		return nil, err
	}
	return &tunnel{Conn: conn}, nil
}

// tunnel is a net.Conn whose bytes travel in the messages of a WebSocket, cut
// anywhere.
type tunnel struct {
	*websocket.Conn
	message io.Reader // what is left of the one being read; nil between two
	writing sync.Mutex
	once    sync.Once
}

func (t *tunnel) Read(p []byte) (int, error) {
	for {
		if t.message == nil {
			kind, message, err := t.NextReader()
			if websocket.IsCloseError(err, websocket.CloseNormalClosure) {
				return 0, io.EOF
			}
			if err != nil {
				return 0, err
			}
			if kind != websocket.BinaryMessage {
				return 0, errors.New("a tunnel carries binary messages only")
			}
			t.message = message
		}
		n, err := t.message.Read(p)
		if err == io.EOF {
			t.message, err = nil, nil
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
}

func (t *tunnel) Write(p []byte) (int, error) {
	t.writing.Lock()
	defer t.writing.Unlock()
	if err := t.WriteMessage(websocket.BinaryMessage, p); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (t *tunnel) Close() error {
	var err error
	t.once.Do(func() {
		// The other side may be gone.
		_ = t.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.CloseNormalClosure, ""), time.Now().Add(time.Second))
		err = t.Conn.Close()
	})
	return err
}

func (t *tunnel) SetDeadline(at time.Time) error {
	return errors.Join(t.SetReadDeadline(at), t.SetWriteDeadline(at))
}
