// SPDX-License-Identifier: Apache-2.0

package runtime

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"

	"github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/errdefs/pkg/errgrpc"

	"github.com/minikubelet/minikubelet/runtime/attach"
)

// attachName is how much of a sandbox's ID names its socket: paths of sockets are short.
const attachName = 24

// AttachOptions say what to connect to a container's first process.
type AttachOptions struct {
	// Stdin may be nil; it is left unread when the container has no input. A read that blocks does not delay Attach's return.
	Stdin io.Reader
	// Stdout and Stderr may be nil, and are no longer written to when Attach has returned. A terminal's output goes to Stdout.
	Stdout, Stderr io.Writer
	// StdinOnce says that the container's input ends for good with Stdin, or with ctx. Otherwise the attachment does.
	StdinOnce bool
	// Resize carries changes of the terminal's size; nil without a terminal.
	Resize <-chan Size
}

// Attach connects to a running container until its output has ended, its input has (see AttachOptions.StdinOnce), or ctx has, whose
// error it then returns. What the container wrote before is in its log alone; several may be attached at a time. Whoever takes the
// output slower than the container writes it slows that down; who takes none for seconds is cut off, with an error.
func (r *Runtime) Attach(ctx context.Context, id string, options AttachOptions) error {
	s, err := r.Status(id)
	if err != nil {
		return fmt.Errorf("attach to container %s: %w", id, err)
	}
	if s.State != StateRunning {
		return fmt.Errorf("attach to container %s (%s), which is %s: %w", s.Name, id, s.State, ErrState)
	}
	conn, err := attach.Dial(ctx, r.attachPath(s.SandboxID), attach.Request{ID: id, Stdin: options.Stdin != nil, Once: options.StdinOnce})
	if err != nil {
		return fmt.Errorf("attach to container %s: %w", id, err)
	}
	ended := make(chan struct{})
	defer close(ended)
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	if options.Resize != nil {
		go r.resize(ctx, id, options.Resize, ended)
	}
	left := make(chan struct{})
	if options.Stdin != nil {
		go func() {
			if sendInput(conn, options.Stdin) == nil && !options.StdinOnce {
				close(left)
				_ = conn.Close()
			}
		}()
	}
	err = show(conn, options)
	select {
	case <-left:
		return nil
	default:
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("attach to container %s: %w", id, err)
	}
	return nil
}

// sendInput sends all of the input, and that it has ended.
func sendInput(conn *attach.Conn, stdin io.Reader) error {
	buf := make([]byte, 32<<10)
	for {
		n, err := stdin.Read(buf)
		if n > 0 {
			if err := conn.Send(attach.Stdin, buf[:n], 0); err != nil {
				return err
			}
		}
		if err != nil { // its end, however it came
			return conn.Send(attach.Stdin, nil, 0)
		}
	}
}

// show writes what the container writes until its end.
func show(conn *attach.Conn, options AttachOptions) error {
	for {
		kind, payload, err := conn.Next()
		if err == io.EOF || errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("cut off by the shim, or for taking no output: %w", err)
		}
		out := options.Stdout
		if kind == attach.Stderr {
			out = options.Stderr
		}
		if out == nil {
			continue
		}
		if _, err := out.Write(payload); err != nil {
			return err
		}
	}
}

// resize sets the size of a container's terminal until the attachment has ended.
func (r *Runtime) resize(ctx context.Context, id string, sizes <-chan Size, ended <-chan struct{}) {
	ctx = r.namespaced(ctx)
	for {
		select {
		case size, ok := <-sizes:
			if !ok {
				return
			}
			_, err := r.client.TaskService().ResizePty(ctx, &tasks.ResizePtyRequest{ContainerID: id, Width: size.Width, Height: size.Height})
			if err = errgrpc.ToNative(err); !gone(err) {
				r.log.Debug("resize of a terminal", "error", err)
			}
		case <-ended:
			return
		}
	}
}

// attachPath is the socket of a sandbox's shim.
func (r *Runtime) attachPath(sandboxID string) string {
	if r.cfg.AttachDir == "" {
		return ""
	}
	return filepath.Join(r.cfg.AttachDir, sandboxID[:min(len(sandboxID), attachName)])
}

// removeAttach removes a sandbox's socket when its shim could not.
func (r *Runtime) removeAttach(sandboxID string) error {
	path := r.attachPath(sandboxID)
	if path == "" {
		return nil
	}
	if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
		return fmt.Errorf("attach socket: %w", err)
	}
	return nil
}
