// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"

	"github.com/minikubelet/minikubelet/apiserver"
	"github.com/minikubelet/minikubelet/network"
	"github.com/minikubelet/minikubelet/runtime"
)

// streams reaches into running Pods for the API.
type streams struct {
	agent *Agent
	// ctx ends with the agent, and with it what Exec has started.
	ctx  context.Context
	work sync.WaitGroup
}

// Running is apiserver.Streams'.
func (s *streams) Running(pod *corev1.Pod, container string) (string, bool) {
	for _, status := range s.agent.runtime.Pod(string(pod.UID)) {
		if status.Name == container && status.Kind != runtime.KindSandbox && status.State == runtime.StateRunning {
			return status.ID, true
		}
	}
	return "", false
}

// Exec is apiserver.Streams'.
func (s *streams) Exec(ctx context.Context, id string, command []string, t apiserver.Terminal) (int, error) {
	type result struct {
		code int
		err  error
	}
	ended := make(chan struct{})
	done := make(chan result, 1)
	s.work.Go(func() {
		defer close(ended)
		code, err := s.agent.runtime.Exec(s.ctx, id, runtime.ExecOptions{
			Cmd: command, Stdin: t.Stdin, Stdout: t.Stdout, Stderr: t.Stderr, TTY: t.TTY, Resize: resizes(t, ended),
		})
		done <- result{code, err}
	})
	select {
	case r := <-done:
		return r.code, r.err
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// resizes are the sizes of a terminal until the process has ended.
func resizes(t apiserver.Terminal, ended <-chan struct{}) <-chan runtime.Size {
	if t.Resize == nil {
		return nil
	}
	out := make(chan runtime.Size)
	go func() {
		defer close(out)
		for {
			select {
			case size, ok := <-t.Resize:
				if !ok {
					return
				}
				select {
				case out <- runtime.Size{Width: uint32(size.Width), Height: uint32(size.Height)}:
				case <-ended:
					return
				}
			case <-ended:
				return
			}
		}
	}()
	return out
}

// Address is apiserver.Streams'.
func (s *streams) Address(pod *corev1.Pod) (netip.Addr, bool) {
	runs := func(status runtime.Status) bool {
		return status.Kind == runtime.KindSandbox && status.State == runtime.StateRunning
	}
	if !slices.ContainsFunc(s.agent.runtime.Pod(string(pod.UID)), runs) {
		return netip.Addr{}, false
	}
	if pod.Spec.HostNetwork {
		return s.agent.address.look(), true
	}
	if s.agent.network == nil {
		return netip.Addr{}, false
	}
	attached, err := s.agent.network.Attached()
	if err != nil {
		s.agent.log.Warn("cannot find a Pod's address", "pod", pod.Namespace+"/"+pod.Name, "err", err)
		return netip.Addr{}, false
	}
	for _, a := range attached {
		if a.UID == string(pod.UID) {
			return a.IP, true
		}
	}
	return netip.Addr{}, false
}

// Dial is apiserver.Streams'.
func (s *streams) Dial(ctx context.Context, pod *corev1.Pod, port uint16) (net.Conn, error) {
	dir := filepath.Join(s.agent.cfg.netnsDir(), string(pod.UID))
	return network.DialLoopback(ctx, runtime.NamespacePaths(dir, runtime.NamespaceOptions{Net: !pod.Spec.HostNetwork}).Net, port)
}

// Attach is apiserver.Streams'.
func (s *streams) Attach(ctx context.Context, id string, once bool, t apiserver.Terminal) error {
	ended := make(chan struct{})
	defer close(ended)
	return s.agent.runtime.Attach(ctx, id, runtime.AttachOptions{
		Stdin: t.Stdin, Stdout: t.Stdout, Stderr: t.Stderr, StdinOnce: once, Resize: resizes(t, ended),
	})
}
