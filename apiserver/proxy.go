// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"compress/flate"
	"compress/gzip"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/proxy"
)

const (
	// dialPodTime bounds a connection to a Pod, handshakeTime its TLS.
	dialPodTime, handshakeTime = 30 * time.Second, 10 * time.Second
	// podHeaderMax bounds the header of a Pod's answer, in bytes, and podPageMax a page of
	// HTML, whose links are rewritten in memory.
	podHeaderMax, podPageMax = 1 << 20, 16 << 20
	// proxyFlush is how long a part of a Pod's answer waits for more: kube-apiserver's.
	proxyFlush = 200 * time.Millisecond
)

// newPodTransport is how the server reaches Pods. Their certificates are nobody's that it knows,
// as in Kubernetes; connections are not kept, for a Pod's address may soon be another's.
func newPodTransport(dial func(ctx context.Context, network, address string) (net.Conn, error)) *http.Transport {
	return &http.Transport{
		DialContext:            dial,
		TLSClientConfig:        &tls.Config{InsecureSkipVerify: true},
		TLSHandshakeTimeout:    handshakeTime,
		MaxResponseHeaderBytes: podHeaderMax,
		DisableKeepAlives:      true,
		DisableCompression:     true, // the client decides
	}
}

// proxyTo hands a request on to a host, which is an address with or without a port, and
// its answer back, a WebSocket or another upgrade included. What the client has shown to
// prove who it is stays here. The host's redirects are the client's to follow; they and the
// links of HTML are rewritten so that they lead through here again, as kube-apiserver
// does it.
func (s *Server) proxyTo(w http.ResponseWriter, r *http.Request, scheme, host, path string) {
	if path == "" && !strings.HasSuffix(r.URL.Path, "/") && (r.Method == http.MethodGet || r.Method == http.MethodHead) {
		to := url.URL{Path: r.URL.Path + "/", RawQuery: r.URL.RawQuery} // so that relative links are right
		w.Header().Set("Location", to.String())
		w.WriteHeader(http.StatusMovedPermanently)
		return
	}
	if strings.HasSuffix(r.URL.Path, "/") && !strings.HasSuffix(path, "/") {
		path += "/"
	}
	if scheme == "" {
		scheme = "http"
	}
	forward := httputil.ReverseProxy{
		Rewrite: func(p *httputil.ProxyRequest) {
			p.Out.URL = &url.URL{Scheme: scheme, Host: host, Path: path, RawQuery: p.In.URL.RawQuery}
			p.Out.Header["X-Forwarded-For"] = p.In.Header["X-Forwarded-For"]
			p.SetXForwarded()
			withoutIdentity(p.Out.Header)
		},
		Transport: &proxy.Transport{
			Scheme: r.URL.Scheme, Host: r.URL.Host, PathPrepend: strings.TrimSuffix(r.URL.Path, path), RoundTripper: boundedPages{s.toPods},
		},
		FlushInterval: proxyFlush,
		ModifyResponse: func(answer *http.Response) error {
			for name := range answer.Header {
				if strings.HasPrefix(name, "Access-Control-Allow-") {
					answer.Header.Del(name) // of another origin's scripts the API decides
				}
			}
			return nil
		},
		ErrorHandler: s.fail,
		ErrorLog:     slog.NewLogLogger(s.cfg.Log.Handler(), slog.LevelDebug),
	}
	forward.ServeHTTP(w, r)
}

// withoutIdentity takes from a header what says or proves who its sender is.
func withoutIdentity(h http.Header) {
	h.Del("Authorization")
	for name := range h {
		if strings.HasPrefix(name, "Impersonate-") {
			h.Del(name)
		}
	}
}

// boundedPages bounds pages of HTML, unpacked: they are read whole.
type boundedPages struct{ pods http.RoundTripper }

func (b boundedPages) RoundTrip(r *http.Request) (*http.Response, error) {
	answer, err := b.pods.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	if kind, _, _ := strings.Cut(answer.Header.Get("Content-Type"), ";"); strings.TrimSpace(kind) != "text/html" || answer.Body == nil {
		return answer, nil
	}
	page := struct {
		io.Reader
		io.Closer
	}{answer.Body, answer.Body}
	switch encoding := answer.Header.Get("Content-Encoding"); {
	case encoding == "" || answer.Body == http.NoBody:
	case encoding == "gzip":
		if page.Reader, err = gzip.NewReader(answer.Body); err != nil {
			_ = answer.Body.Close()
			return nil, fmt.Errorf("the page is not packed as it says: %w", err)
		}
	case encoding == "deflate":
		page.Reader = flate.NewReader(answer.Body)
	default: // is passed on as it is
		return answer, nil
	}
	if answer.Header.Get("Content-Encoding") != "" {
		answer.Header.Del("Content-Encoding")
		answer.Header.Del("Content-Length")
		answer.ContentLength = -1
	}
	page.Reader = &atMostBytes{page.Reader, podPageMax}
	answer.Body = page
	return answer, nil
}

// atMostBytes fails when there is more to read.
type atMostBytes struct {
	io.Reader
	left int64
}

func (a *atMostBytes) Read(p []byte) (int, error) {
	n, err := a.Reader.Read(p)
	if a.left -= int64(n); a.left < 0 {
		return 0, apierrors.NewServiceUnavailable(fmt.Sprintf("error trying to reach service: its links are not rewritten in more than %d bytes of HTML", int64(podPageMax)))
	}
	return n, err
}

func dialPod(ctx context.Context, network, address string) (net.Conn, error) {
	return (&net.Dialer{Timeout: dialPodTime}).DialContext(ctx, network, address)
}
