// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Hooks runs lifecycle handlers. It is safe for concurrent use.
type Hooks struct {
	transport http.RoundTripper
}

// NewHooks makes a Hooks.
func NewHooks() *Hooks { return &Hooks{transport: newTransport()} }

// Run runs a handler to its end; it has no time limit but ctx's. A command has to
// exit with 0; any answer to an HTTP request will do. warn is told when a server that
// was asked for HTTPS speaks HTTP, which is tried then, too.
//
// A tcpSocket handler fails: Kubernetes accepts it and has never run it.
func (h *Hooks) Run(ctx context.Context, handler *corev1.LifecycleHandler, target Target, warn func(message string)) error {
	switch {
	case handler.Exec != nil:
		code, output, err := target.Exec(ctx, handler.Exec.Command, outputMax)
		if err == nil && code != 0 {
			err = fmt.Errorf("command %q exited with %d: %s", handler.Exec.Command, code, output)
		}
		return err
	case handler.HTTPGet != nil:
		return h.get(ctx, handler.HTTPGet, target, warn)
	case handler.Sleep != nil:
		timer := time.NewTimer(time.Duration(handler.Sleep.Seconds) * time.Second)
		defer timer.Stop()
		select {
		case <-timer.C:
			return nil
		case <-ctx.Done():
			return fmt.Errorf("the container ended before the sleep hook: %w", ctx.Err())
		}
	case handler.TCPSocket != nil:
		return errors.New("invalid handler: tcpSocket is not run as a lifecycle hook")
	}
	return errors.New("invalid handler")
}

func (h *Hooks) get(ctx context.Context, get *corev1.HTTPGetAction, target Target, warn func(message string)) error {
	request, err := NewRequest(ctx, get, target, "lifecycle")
	if err != nil {
		return err
	}
	err = h.do(request)
	if err == nil || !strings.Contains(err.Error(), "server gave HTTP response to HTTPS client") {
		return err
	}
	request = request.Clone(ctx)
	request.URL.Scheme = "http"
	request.Header.Del("Authorization")
	if h.do(request) == nil {
		warn(fmt.Sprintf("request to HTTPS lifecycle hook %s got HTTP response, retry with HTTP succeeded", request.URL.Host))
		return nil
	}
	return err
}

// do is content with any answer.
func (h *Hooks) do(request *http.Request) error {
	client := http.Client{Transport: h.transport, CheckRedirect: sameHost}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	_, _ = io.CopyN(io.Discard, response.Body, outputMax) // so that the server can finish; what it says does not matter
	return nil
}
