// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"
)

const (
	// headerTime and idleTime bound a connection before and between requests.
	headerTime, idleTime = 10 * time.Second, 2 * time.Minute
	// headerMax is what a request's header may have, in bytes.
	headerMax = 64 << 10
)

// Listen makes the unix socket, which only its owner can open. A socket that an
// earlier agent left is replaced: the caller holds the data directory's lock.
func Listen(path string) (net.Listener, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("API socket: %w", err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("API socket: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("API socket: %w", err), l.Close())
	}
	return l, nil
}

// Serve answers on a listener until ctx ends, and closes it. With cfg it speaks
// TLS. The requests' contexts end with ctx, those of connections that were taken over
// included.
func Serve(ctx context.Context, l net.Listener, cfg *tls.Config, h http.Handler, log *slog.Logger) error {
	server := newHTTPServer(ctx, cfg, h, log, slowWrite)
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	var err error
	if cfg != nil {
		err = server.ServeTLS(l, "", "")
	} else {
		err = server.Serve(l)
	}
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("API: %w", err)
	}
	return nil
}

// newHTTPServer makes one that ends connections whose client takes nothing for the
// time slow. Without that a client that stops to read would keep all its streams of
// HTTP/2 for ever: what ends a stream has to be written, too.
func newHTTPServer(ctx context.Context, cfg *tls.Config, h http.Handler, log *slog.Logger, slow time.Duration) *http.Server {
	return &http.Server{
		Handler: h, TLSConfig: cfg, ReadHeaderTimeout: headerTime, IdleTimeout: idleTime, MaxHeaderBytes: headerMax,
		HTTP2:       &http.HTTP2Config{WriteByteTimeout: slow},
		BaseContext: func(net.Listener) context.Context { return ctx },
		ErrorLog:    slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}
