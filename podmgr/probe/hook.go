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

// CommandError says that the command of a hook failed. Its message is the kubelet's.
type CommandError struct {
	Command []string
	Execution
}

func (e *CommandError) Error() string {
	return fmt.Sprintf("command '%s' exited with %d: %s", strings.Join(e.Command, " "), e.ExitCode, e.Stderr)
}

// Run runs a handler to its end; it has no time limit but ctx's. A command has to
// exit with 0, else the error is a *CommandError; any answer to an HTTP request will do.
// warn is told when a server that was asked for HTTPS speaks HTTP, which is tried then,
// too.
//
// A tcpSocket handler fails: Kubernetes accepts it and has never run it.
func (h *Hooks) Run(ctx context.Context, handler *corev1.LifecycleHandler, target Target, warn func(message string)) error {
	switch {
	case handler.Exec != nil:
		ran, err := target.Exec(ctx, handler.Exec.Command, outputMax)
		if err == nil && ran.ExitCode != 0 {
			err = &CommandError{handler.Exec.Command, ran}
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
			return errors.New("container terminated before sleep hook finished")
		}
	}
	return fmt.Errorf("invalid handler: %v", handler)
}

// FailureMessage says of a hook that failed why, in the kubelet's words. pod is
// NAME_NAMESPACE(UID). It may hold what is secret: what the container said.
func FailureMessage(handler *corev1.LifecycleHandler, container, pod string, err error) string {
	what := func(kind string, detail any) string {
		return fmt.Sprintf("%s lifecycle hook (%v) for Container %q in Pod %q failed - error: %v", kind, detail, container, pod, err)
	}
	switch {
	case handler.Exec != nil:
		var output []byte
		if failed := (*CommandError)(nil); errors.As(err, &failed) {
			output = failed.output()
		}
		return what("Exec", handler.Exec.Command) + fmt.Sprintf(", message: %q", output)
	case handler.HTTPGet != nil:
		return what("HTTP", handler.HTTPGet.Path)
	case handler.Sleep != nil:
		return what("Sleep", handler.Sleep.Seconds)
	}
	return "Cannot run handler: " + err.Error()
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
