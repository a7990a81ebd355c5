// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Result of one probe.
type Result string

const (
	Success Result = "success"
	// Warning counts as success, and the owner is told.
	Warning Result = "warning"
	Failure Result = "failure"
)

// Outcome is what a probe came to, with what the kubelet says about it.
type Outcome struct {
	Result Result
	Output string
}

// outputMax bounds what is kept of a command's output or of a body, in bytes.
const outputMax = 10 << 10

// retries is how often a probe that could not be made is tried at once, as in the
// kubelet. One that fails is not tried again.
const retries = 3

// ExecFunc runs a command in the container and gives its exit code and the first
// limit bytes of each of its outputs. When ctx ends first the command is killed and the
// error is ctx's.
type ExecFunc func(ctx context.Context, command []string, limit int) (Execution, error)

// Execution is what a command came to.
type Execution struct {
	ExitCode       int
	Stdout, Stderr []byte
}

// output is what a command wrote, as the kubelet has it: not as it came, but one after
// the other.
func (e *Execution) output() []byte {
	return slices.Concat(e.Stdout, e.Stderr)
}

// Target is what is probed.
type Target struct {
	// IP is the Pod's address; where the probe names a host, that is used instead.
	IP string
	// Ports of the container, for probes that name theirs.
	Ports []corev1.ContainerPort
	// Exec may be nil when the probe is no command.
	Exec ExecFunc
}

// Prober makes probes. It is safe for concurrent use.
type Prober struct {
	transport http.RoundTripper
	desks     sync.Pool // of *desk
}

// New makes a Prober.
func New() *Prober { return &Prober{transport: newTransport(), desks: sync.Pool{New: newDesk}} }

// Run makes a defaulted probe, bounded by its timeout. An error says that it could
// not be made; its outcome does not count then, but is told of if there is one.
func (p *Prober) Run(ctx context.Context, spec *corev1.Probe, target Target) (Outcome, error) {
	return p.try(ctx, spec, target, time.Now(), p.handle)
}

// try makes a probe, again if it could not be made; the first time, which began earlier,
// with first.
func (p *Prober) try(ctx context.Context, spec *corev1.Probe, target Target, began time.Time, first handler) (outcome Outcome, err error) {
	timeout := time.Duration(max(spec.TimeoutSeconds, 1)) * time.Second
	handle := first
	for range retries {
		bounded, cancel := context.WithDeadline(ctx, began.Add(timeout))
		outcome, err = handle(bounded, spec, target, timeout)
		cancel()
		if ctx.Err() != nil {
			return Outcome{}, ctx.Err() // given up, not timed out: it says nothing
		}
		if err == nil {
			break
		}
		handle, began = p.handle, time.Now()
	}
	return outcome, err
}

// handler makes a probe once.
type handler func(ctx context.Context, spec *corev1.Probe, target Target, timeout time.Duration) (Outcome, error)

func (p *Prober) handle(ctx context.Context, spec *corev1.Probe, target Target, timeout time.Duration) (Outcome, error) {
	switch {
	case spec.Exec != nil:
		return command(ctx, spec.Exec.Command, target.Exec, timeout)
	case spec.HTTPGet != nil:
		request, err := NewRequest(ctx, spec.HTTPGet, target, "probe")
		if err != nil {
			return Outcome{}, err
		}
		return p.get(request, p.transport)
	case spec.TCPSocket != nil:
		address, err := target.address(spec.TCPSocket.Host, spec.TCPSocket.Port)
		if err != nil {
			return Outcome{}, err
		}
		return connect(ctx, address), nil
	case spec.GRPC != nil:
		service := ""
		if spec.GRPC.Service != nil {
			service = *spec.GRPC.Service
		}
		return check(ctx, net.JoinHostPort(target.IP, strconv.Itoa(int(spec.GRPC.Port))), service, timeout), nil
	}
	return Outcome{}, errors.New("missing probe handler")
}

// address of a port, by number or by its name in the container.
func (t *Target) address(host string, port intstr.IntOrString) (string, error) {
	if host == "" {
		host = t.IP
	}
	number := port.IntValue()
	if port.Type == intstr.String {
		for _, p := range t.Ports {
			if p.Name == port.StrVal {
				number = int(p.ContainerPort)
			}
		}
	}
	if number < 1 || number > 65535 {
		return "", fmt.Errorf("invalid port number: %v", port.String())
	}
	return net.JoinHostPort(host, strconv.Itoa(number)), nil
}

// dialer is for connections that last for a moment.
func dialer() *net.Dialer { return &net.Dialer{KeepAlive: -1} }

// connect succeeds when a connection can be made.
func connect(ctx context.Context, address string) Outcome {
	conn, err := dialer().DialContext(ctx, "tcp", address)
	if err != nil {
		return Outcome{Failure, err.Error()}
	}
	_ = conn.Close() // nothing was sent
	return Outcome{Result: Success}
}
