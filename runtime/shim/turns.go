// SPDX-License-Identifier: Apache-2.0

package shim

import (
	"context"
	"sync"

	task "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/ttrpc"
)

// turns has requests about one process answered one after another, and those that
// change it carried out to the end.
//
// The stock service would not: a request ends with its connection, so that an
// agent that is killed takes the runc command under way with it, and leaves a
// container of which nobody can tell whether it was created or started. Here the
// command goes on, and the next agent's question about the process waits for its
// outcome.
type turns struct {
	mu    sync.Mutex
	taken map[string]chan struct{} // by process; closed at the end of the turn
}

func newTurns() *turns { return &turns{taken: make(map[string]chan struct{})} }

// intercept is an interceptor in front of another.
func (t *turns) intercept(next ttrpc.UnaryServerInterceptor) ttrpc.UnaryServerInterceptor {
	return func(ctx context.Context, unmarshal ttrpc.Unmarshaler, info *ttrpc.UnaryServerInfo, method ttrpc.Method) (any, error) {
		process, changes, err := subject(info.FullMethod, unmarshal)
		if err != nil {
			return nil, err
		}
		if process != "" {
			end, err := t.take(ctx, process)
			if err != nil {
				return nil, err
			}
			if !changes {
				end()
			} else {
				defer end()
				var cancel context.CancelFunc
				ctx, cancel = steadfast(ctx)
				defer cancel()
			}
		}
		return next(ctx, unmarshal, info, method)
	}
}

// subject tells which process a request is about, and whether it changes it. It
// is empty for requests that do not wait: those about the shim, and signals.
func subject(method string, unmarshal ttrpc.Unmarshaler) (process string, changes bool, err error) {
	var req interface{ GetID() string }
	switch method {
	case service + "Create":
		req, changes = new(task.CreateTaskRequest), true
	case service + "Start":
		req, changes = new(task.StartRequest), true
	case service + "Delete":
		req, changes = new(task.DeleteRequest), true
	case service + "State":
		req = new(task.StateRequest)
	case service + "Pids":
		req = new(task.PidsRequest)
	case service + "Connect":
		req = new(task.ConnectRequest)
	default:
		return "", false, nil
	}
	if err := unmarshal(req); err != nil {
		return "", false, err
	}
	process = req.GetID()
	if exec, ok := req.(interface{ GetExecID() string }); ok && exec.GetExecID() != "" {
		process += "/" + exec.GetExecID()
	}
	return process, changes, nil
}

// take waits for the process' turn, unless ctx ends first, and begins it.
func (t *turns) take(ctx context.Context, process string) (end func(), err error) {
	for {
		t.mu.Lock()
		before := t.taken[process]
		if before == nil {
			mine := make(chan struct{})
			t.taken[process] = mine
			t.mu.Unlock()
			return func() {
				t.mu.Lock()
				delete(t.taken, process)
				t.mu.Unlock()
				close(mine)
			}, nil
		}
		t.mu.Unlock()
		select {
		case <-before:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// steadfast is ctx with its deadline, but without its end by cancelling.
func steadfast(ctx context.Context) (context.Context, context.CancelFunc) {
	kept := context.WithoutCancel(ctx)
	if deadline, ok := ctx.Deadline(); ok {
		return context.WithDeadline(kept, deadline)
	}
	return kept, func() {}
}
