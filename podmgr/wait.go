// SPDX-License-Identifier: Apache-2.0

package podmgr

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"

	"github.com/minikubelet/minikubelet/podmgr/plan"
	"github.com/minikubelet/minikubelet/runtime"
)

// change returns a channel that is closed at the next change of anything of the
// Pod. Take it before looking, then nothing is missed.
func (w *worker) change() <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.changed
}

func (w *worker) runs(id string) bool {
	s, ok := w.find(id)
	return ok && s.State == runtime.StateRunning
}

// waitExit returns when a container does not run any more.
func (w *worker) waitExit(ctx context.Context, id string) error {
	for {
		change := w.change()
		if !w.runs(id) {
			return nil
		}
		select {
		case <-change:
		case <-ctx.Done():
			return fmt.Errorf("container %.13s still runs after SIGKILL: %w", id, ctx.Err())
		}
	}
}

// parseSignal understands SIGTERM, TERM and 15; anything else is SIGTERM.
func parseSignal(s string) syscall.Signal {
	if s == "" {
		return syscall.SIGTERM
	}
	if n, err := strconv.Atoi(s); err == nil && n > 0 && n < 65 {
		return syscall.Signal(n)
	}
	name := strings.ToUpper(s)
	if !strings.HasPrefix(name, "SIG") {
		name = "SIG" + name
	}
	if n, ok := realtimeSignal(name); ok {
		return n
	}
	if sig := unix.SignalNum(name); sig != 0 {
		return sig
	}
	return syscall.SIGTERM
}

// realtimeSignal understands SIGRTMIN+n and SIGRTMAX-n, as in Kubernetes' list of
// stop signals.
func realtimeSignal(name string) (syscall.Signal, bool) {
	const rtmin, rtmax = 34, 64
	for prefix, base := range map[string]int{"SIGRTMIN": rtmin, "SIGRTMAX": rtmax} {
		rest, ok := strings.CutPrefix(name, prefix)
		if !ok {
			continue
		}
		offset, err := strconv.Atoi(rest)
		if n := base + offset; (rest == "" || err == nil) && n >= rtmin && n <= rtmax {
			return syscall.Signal(n), true
		}
	}
	return 0, false
}

// network is done: whether it succeeded or not.
type networkGate struct {
	networked chan struct{}
	once      sync.Once
}

func (g *networkGate) endNetwork() { g.once.Do(func() { close(g.networked) }) }

func (g *networkGate) waitNetwork(ctx context.Context) error {
	select {
	case <-g.networked:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// podIPs are the Pod's addresses as far as they are known; on the host's network they
// are the node's.
func (w *worker) podIPs(pod *corev1.Pod, stage *sandboxStage) []string {
	if pod.Spec.HostNetwork {
		return w.HostIPs()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return stage.ips
}

// reasonOf names a failure as the kubelet does in a waiting state.
func reasonOf(kind plan.Kind, err error) (reason, message string) {
	var config *configError
	var pull *pullError
	switch {
	case errors.As(err, &config):
		reason = "CreateContainerConfigError"
	case errors.As(err, &pull):
		reason = pull.reason
	case kind == plan.CreateContainer:
		reason = "CreateContainerError"
	case kind == plan.StartContainer:
		reason = "RunContainerError"
	case kind == plan.CreateSandbox:
		reason = "FailedCreatePodSandBox"
	default:
		reason = "FailedKillPod"
	}
	return reason, told(err)
}

// told is an error in the words for the Pod's owner, who knows which container it is
// about, and for whom it is the same at each attempt.
func told(err error) string {
	var config *configError
	var container *runtime.ContainerError
	switch {
	case errors.As(err, &config):
		return config.Error()
	case errors.As(err, &container):
		return container.Err.Error()
	}
	return err.Error()
}
