// SPDX-License-Identifier: Apache-2.0

package runtime

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/cio"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// execEnd bounds how long a process that was killed because its context ended may take to vanish.
const execEnd = 5 * time.Second

// Size is that of a terminal, in characters.
type Size struct {
	Width, Height uint32
}

// ExecOptions describe a further process in a running container. It gets the container's user, environment, working directory,
// capabilities and seccomp filter.
type ExecOptions struct {
	Cmd []string
	// Stdin may be nil; a read that blocks does not delay Exec's return. Its end is that of the process' input, and of a terminal: the
	// kernel then sends SIGHUP. Stdout and Stderr may be nil, and are no longer written to when Exec has returned; after a write that
	// failed the process would wait for ever. With TTY all output goes to Stdout.
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	TTY            bool
	// Resize carries changes of the terminal's size; nil without TTY.
	Resize <-chan Size
}

// Exec runs a command in a running container, and gives its exit code (128 plus the signal when a signal ended it) after all its
// output was written: that of its descendants too, which may outlive it. When ctx ends first, the process is killed and the error is
// ctx's.
func (r *Runtime) Exec(ctx context.Context, id string, options ExecOptions) (exitCode int, err error) {
	ctx = r.namespaced(ctx)
	defer func() {
		// Whatever was under way when ctx ended has its own way of saying so.
		if ended := ctx.Err(); ended != nil && err != nil && !errors.Is(err, ended) {
			err = fmt.Errorf("%w: %w", ended, err)
		}
	}()
	if s, err := r.Status(id); err != nil {
		return 0, fmt.Errorf("exec in container %s: %w", id, err)
	} else if s.State != StateRunning {
		return 0, fmt.Errorf("exec in container %s (%s), which is %s: %w", s.Name, id, s.State, ErrState)
	}
	stdin := &eofReader{reader: options.Stdin, eof: make(chan struct{})}
	process, err := r.newProcess(ctx, id, options, stdin)
	if err != nil {
		return 0, fmt.Errorf("exec in container %s: %w", id, err)
	}
	defer func() {
		detached, cancel := context.WithTimeout(context.WithoutCancel(ctx), execEnd)
		defer cancel()
		if _, derr := process.Delete(detached, containerd.WithProcessKill); !gone(derr) && err == nil {
			err = fmt.Errorf("exec in container %s: %w", id, derr)
		}
	}()
	status, err := process.Wait(ctx)
	if err != nil {
		return 0, fmt.Errorf("exec in container %s: %w", id, err)
	}
	if err := process.Start(ctx); err != nil {
		return 0, fmt.Errorf("exec in container %s: %w", id, err)
	}
	end, err := r.follow(ctx, process, options.Resize, stdin, status)
	if err != nil {
		return 0, err
	}
	code, _, err := end.Result()
	if err != nil {
		return 0, fmt.Errorf("exec in container %s: %w", id, err)
	}
	return int(code), drain(ctx, process)
}

// newProcess makes the process, not started yet.
func (r *Runtime) newProcess(ctx context.Context, id string, options ExecOptions, stdin *eofReader) (containerd.Process, error) {
	container, err := r.client.LoadContainer(ctx, id)
	if err != nil {
		return nil, err
	}
	spec, err := container.Spec(ctx)
	if err != nil {
		return nil, err
	}
	task, err := container.Task(ctx, nil)
	if err != nil {
		return nil, err
	}
	if r.cfg.ExecDir != "" {
		if err := os.MkdirAll(r.cfg.ExecDir, 0o700); err != nil {
			return nil, err
		}
	}
	process := specs.Process{}
	if spec.Process != nil {
		process = *spec.Process
	}
	process.Args, process.Terminal, process.CommandLine = options.Cmd, options.TTY, ""
	if options.TTY {
		process.Env = withTerm(process.Env)
	}
	var in io.Reader
	if options.Stdin != nil {
		in = stdin
	}
	// The shim knows no stream that is missing while others are there.
	stdout, stderr := io.Discard, io.Discard
	if options.Stdout != nil {
		stdout = options.Stdout
	}
	if options.Stderr != nil {
		stderr = options.Stderr
	}
	streams := []cio.Opt{cio.WithStreams(in, stdout, stderr), cio.WithFIFODir(r.cfg.ExecDir)}
	if options.TTY {
		streams = append(streams, cio.WithTerminal)
	}
	return task.Exec(ctx, "exec-"+strings.ToLower(rand.Text()), &process, cio.NewCreator(streams...))
}

// withTerm tells a process on a terminal what that understands, as containerd's CRI does.
func withTerm(env []string) []string {
	env = slices.DeleteFunc(slices.Clone(env), func(v string) bool { return strings.HasPrefix(v, "TERM=") })
	return append(env, "TERM=xterm")
}

// follow serves a running process until it has ended.
func (r *Runtime) follow(ctx context.Context, process containerd.Process, resize <-chan Size, stdin *eofReader, ended <-chan containerd.ExitStatus) (containerd.ExitStatus, error) {
	eof := stdin.eof
	for {
		select {
		case size, ok := <-resize:
			if !ok {
				resize = nil
			} else if err := process.Resize(ctx, size.Width, size.Height); !gone(err) {
				r.log.Debug("resize of a terminal", "error", err)
			}
		case <-eof:
			eof = nil
			if err := process.CloseIO(ctx, containerd.WithStdinCloser); !gone(err) {
				r.log.Debug("close of standard input", "error", err)
			}
		case status := <-ended:
			return status, nil
		case <-ctx.Done():
			_ = process.Kill(context.WithoutCancel(ctx), syscall.SIGKILL)
			return containerd.ExitStatus{}, ctx.Err()
		}
	}
}

// drain waits until all output of an ended process was written.
func drain(ctx context.Context, process containerd.Process) error {
	if process.IO() == nil {
		return nil
	}
	done := make(chan struct{})
	go func() {
		process.IO().Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// eofReader tells when the end of its input was reached.
type eofReader struct {
	reader io.Reader
	eof    chan struct{}
	closed bool
}

func (r *eofReader) Read(p []byte) (int, error) {
	n, err := r.reader.Read(p)
	if err != nil && !r.closed {
		r.closed = true
		close(r.eof)
	}
	return n, err
}
