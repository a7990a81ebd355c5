// SPDX-License-Identifier: Apache-2.0

package shim

import (
	"context"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"sync"

	task "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/containerd/ttrpc"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/minikubelet/minikubelet/runtime/crilog"
)

const service = "/containerd.task.v3.Task/"

// logs gives the shim's tasks their log files. It sits between containerd and
// the stock task service as an interceptor, which sees each request first, and
// between that service and the runc processes it starts as a process monitor.
//
// A task whose standard output is a crilog URI is created with no output at all,
// as far as the stock service knows; the runc process that creates it is given
// pipes instead of /dev/null, and logs reads their other ends. The service would
// copy the output from pipes of its own to FIFOs otherwise, and wait for ten
// seconds at the deletion when somebody still holds such a pipe.
type logs struct {
	buffers sync.Pool

	mu    sync.Mutex
	tasks map[string]*taskLog
	door  door
}

func newLogs() *logs {
	return &logs{
		buffers: sync.Pool{New: func() any { return new([drainSize]byte) }},
		tasks:   map[string]*taskLog{},
	}
}

// intercept is a ttrpc.UnaryServerInterceptor.
func (l *logs) intercept(ctx context.Context, unmarshal ttrpc.Unmarshaler, info *ttrpc.UnaryServerInfo, method ttrpc.Method) (any, error) {
	switch info.FullMethod {
	case service + "Create":
		return l.create(ctx, unmarshal, method)
	case service + "Delete":
		return l.delete(ctx, unmarshal, method)
	case service + "CloseIO":
		return l.closeIO(ctx, unmarshal, method)
	}
	return method(ctx, unmarshal)
}

func (l *logs) create(ctx context.Context, unmarshal ttrpc.Unmarshaler, method ttrpc.Method) (any, error) {
	var t *taskLog
	resp, err := method(ctx, func(v any) (err error) {
		if err := unmarshal(v); err != nil {
			return err
		}
		if req, ok := v.(*task.CreateTaskRequest); ok {
			t, err = l.open(req)
		}
		return err
	})
	if t == nil {
		return resp, err
	}
	if err != nil {
		l.forget(t)
		t.abort()
		return resp, err
	}
	t.start(&l.buffers)
	return resp, nil
}

// open makes the log of the task that the request is for, and changes the
// request. It returns nil when the task has none.
func (l *logs) open(req *task.CreateTaskRequest) (*taskLog, error) {
	target, ok, err := targetOf(req)
	if !ok || err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	if target.Attach != "" {
		if err := l.door.open(target.Attach, l.get); err != nil {
			return nil, errgrpc.ToGRPC(err)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.tasks[req.ID] != nil {
		return nil, errgrpc.ToGRPCf(errdefs.ErrAlreadyExists, "task %s", req.ID)
	}
	t, err := newTaskLog(req, target)
	if err != nil {
		return nil, errgrpc.ToGRPC(fmt.Errorf("task %s: %w", req.ID, err))
	}
	l.tasks[req.ID] = t
	return t, nil
}

// targetOf returns where the new task wants its output, and whether that is a
// log at all.
func targetOf(req *task.CreateTaskRequest) (crilog.Target, bool, error) {
	const prefix = crilog.Scheme + ":"
	if !strings.HasPrefix(req.Stdout, prefix) && !strings.HasPrefix(req.Stderr, prefix) {
		return crilog.Target{}, false, nil
	}
	if req.Stderr != req.Stdout && (req.Stderr != "" || !req.Terminal) {
		return crilog.Target{}, false, fmt.Errorf("stdout %q and stderr %q: a task has one log for both: %w",
			req.Stdout, req.Stderr, errdefs.ErrInvalidArgument)
	}
	if req.Checkpoint != "" {
		return crilog.Target{}, false, fmt.Errorf("log of a restored task: %w", errdefs.ErrNotImplemented)
	}
	target, err := crilog.ParseTarget(req.Stdout)
	if err != nil {
		return target, false, fmt.Errorf("%w: %w", err, errdefs.ErrInvalidArgument)
	}
	return target, true, nil
}

func (l *logs) delete(ctx context.Context, unmarshal ttrpc.Unmarshaler, method ttrpc.Method) (any, error) {
	req, resp, err := call[task.DeleteRequest](ctx, unmarshal, method)
	if err != nil || req == nil || req.ExecID != "" {
		return resp, err
	}
	// The service deletes stopped tasks only, so there is nobody left to write,
	// unless a process outside the container was handed its output.
	if t := l.get(req.ID); t != nil {
		t.finish()
		l.forget(t)
	}
	return resp, nil
}

func (l *logs) closeIO(ctx context.Context, unmarshal ttrpc.Unmarshaler, method ttrpc.Method) (any, error) {
	req, resp, err := call[task.CloseIORequest](ctx, unmarshal, method)
	if err != nil || req == nil || req.ExecID != "" || !req.Stdin {
		return resp, err
	}
	if t := l.get(req.ID); t != nil {
		t.closeStdin()
		return &emptypb.Empty{}, nil
	}
	return resp, nil
}

// call calls the method and also returns its request.
func call[T any](ctx context.Context, unmarshal ttrpc.Unmarshaler, method ttrpc.Method) (req *T, resp any, err error) {
	resp, err = method(ctx, func(v any) error {
		if err := unmarshal(v); err != nil {
			return err
		}
		req, _ = v.(*T)
		return nil
	})
	return req, resp, err
}

func (l *logs) get(id string) *taskLog {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.tasks[id]
}

func (l *logs) forget(t *taskLog) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.tasks, t.id)
}

// closeAll ends the logs of the tasks that are left when the shim ends.
func (l *logs) closeAll(context.Context) error {
	l.door.close()
	l.mu.Lock()
	tasks := l.tasks
	l.tasks = map[string]*taskLog{}
	l.mu.Unlock()
	for _, t := range tasks {
		t.finish()
	}
	return nil
}

// connect gives the runc process that creates a task its log's pipes, which
// runc hands on to the container. Other processes are left alone: they have
// other commands, or are about tasks with no log.
func (l *logs) connect(c *exec.Cmd) {
	if !slices.Contains(c.Args, "create") {
		return
	}
	if t := l.get(c.Args[len(c.Args)-1]); t != nil {
		t.connect(c)
	}
}
