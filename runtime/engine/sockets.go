// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"

	ctdlog "github.com/containerd/log"
	"github.com/containerd/plugin"
	"github.com/containerd/ttrpc"
)

const (
	maxSocketPath = 107 // sockaddr_un, unix(7), without the final zero byte
	maxSocketDir  = 42  // containerd's limit for the shims' directory: their names have 64 characters
)

// SocketDir is where the shims of an engine with this state directory have
// their sockets: below it, or, when that path is too long for a socket, in a
// directory below /run that is named after it.
func SocketDir(state string) string {
	dir := filepath.Join(state, "s")
	if len(dir) <= maxSocketDir {
		return dir
	}
	sum := sha256.Sum256([]byte(filepath.Clean(state)))
	return filepath.Join("/run/minikubelet-s", hex.EncodeToString(sum[:8]))
}

// eventServer is the ttrpc socket to which shims send their events. It listens
// before the plugins start, so that a waiting shim's call is queued and not
// refused, and answers once they have.
type eventServer struct {
	listener net.Listener
	server   *ttrpc.Server
}

func serveEvents(path string) (*eventServer, error) {
	server, err := ttrpc.NewServer(ttrpc.WithServerHandshaker(ttrpc.UnixSocketRequireSameUser()))
	if err != nil {
		return nil, fmt.Errorf("event socket: %w", err)
	}
	// A socket left by a killed engine would make bind fail. Whoever holds the
	// data directory's lock may remove it.
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("event socket: %w", err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("event socket: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		_ = l.Close()
		return nil, fmt.Errorf("event socket: %w", err)
	}
	return &eventServer{listener: l, server: server}, nil
}

// serve registers the ttrpc services of the plugins and answers from now on.
func (s *eventServer) serve(ctx context.Context, loaded []*plugin.Plugin) error {
	registered := 0
	for _, p := range loaded {
		instance, err := p.Instance()
		if err != nil {
			continue
		}
		if service, ok := instance.(interface{ RegisterTTRPC(*ttrpc.Server) error }); ok {
			if err := service.RegisterTTRPC(s.server); err != nil {
				return fmt.Errorf("ttrpc service of %s: %w", p.Registration.URI(), err)
			}
			registered++
		}
	}
	if registered == 0 {
		return errors.New("no containerd plugin takes the shims' events")
	}
	go func() {
		err := s.server.Serve(context.WithoutCancel(ctx), s.listener)
		if err != nil && !errors.Is(err, ttrpc.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
			ctdlog.G(ctx).WithError(err).Error("event socket: no more events from shims")
		}
	}()
	return nil
}

// Close stops listening and hangs up on the shims, which try again for a while.
func (s *eventServer) Close() error {
	err := s.server.Close()
	if lerr := s.listener.Close(); err == nil && !errors.Is(lerr, net.ErrClosed) {
		err = lerr
	}
	return err
}
