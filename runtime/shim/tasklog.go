// SPDX-License-Identifier: Apache-2.0

package shim

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	task "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/containerd/api/types/runc/options"
	"github.com/containerd/typeurl/v2"
	"golang.org/x/sys/unix"

	"github.com/minikubelet/minikubelet/runtime/attach"
	"github.com/minikubelet/minikubelet/runtime/crilog"
)

// lingering is how long the deletion of a task waits for the end of its output
// when a process outside the container holds the other end.
const lingering = time.Second

// taskLog is the log of one task, and its standard input when it has one.
type taskLog struct {
	id     string
	writer *crilog.Writer

	// The ends that the container gets, until it has them.
	stdin, stdout, stderr *os.File
	// input is the other end of the container's standard input, nil without one. It is
	// held so that the input does not end when a client leaves: clients attach and
	// detach, or there is none.
	input     *os.File
	feeding   sync.Mutex
	inputOnce sync.Once

	audience audience
	sources  []source
	drained  sync.WaitGroup
	running  atomic.Int32 // sources that are not at their end
}

// source is one output of the container.
type source struct {
	file *os.File
	sink *crilog.Sink
	show func(p []byte)
}

// newTaskLog opens the log and changes the request, so that the stock service
// leaves the output to us.
func newTaskLog(req *task.CreateTaskRequest, target crilog.Target) (_ *taskLog, err error) {
	t := &taskLog{id: req.ID}
	defer func() {
		if err != nil {
			t.abort()
		}
	}()
	if t.writer, err = crilog.Open(target); err != nil {
		return nil, err
	}
	if req.Terminal {
		return t, t.openTerminal(req, target.Stdin)
	}
	if t.stdout, err = t.pipe(crilog.Stdout); err != nil {
		return nil, err
	}
	if t.stderr, err = t.pipe(crilog.Stderr); err != nil {
		return nil, err
	}
	if target.Stdin {
		if t.stdin, t.input, err = os.Pipe(); err != nil {
			return nil, fmt.Errorf("standard input: %w", err)
		}
	}
	req.Stdin, req.Stdout, req.Stderr = "", "", ""
	return t, t.give(req)
}

// give makes the container's ends those of the user whom the request names as the owner
// of its pipes, root of a user namespace: what a container can open again, by
// /dev/stdout, is what belongs to a user that it has.
func (t *taskLog) give(req *task.CreateTaskRequest) error {
	if req.Options == nil {
		return nil
	}
	var o options.Options
	if err := typeurl.UnmarshalTo(req.Options, &o); err != nil {
		return fmt.Errorf("runtime options: %w", err)
	}
	if o.IoUid == 0 && o.IoGid == 0 {
		return nil
	}
	for _, f := range []*os.File{t.stdin, t.stdout, t.stderr} {
		if f != nil {
			if err := f.Chown(int(o.IoUid), int(o.IoGid)); err != nil {
				return fmt.Errorf("log pipe: %w", err)
			}
		}
	}
	return nil
}

func (t *taskLog) pipe(s crilog.Stream) (*os.File, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("log pipe: %w", err)
	}
	t.source(r, s)
	return w, nil
}

func (t *taskLog) source(file *os.File, s crilog.Stream) {
	kind := attach.Stdout
	if s == crilog.Stderr {
		kind = attach.Stderr
	}
	t.sources = append(t.sources, source{file, t.writer.Sink(s), func(p []byte) { t.audience.show(kind, p) }})
}

// openTerminal makes a FIFO in the bundle, to which the stock service copies
// what it reads of the terminal. The write end is held until the service has
// one of its own: a FIFO that nobody has opened for writing is at its end. With
// input there is another one, from which the service copies to the terminal.
func (t *taskLog) openTerminal(req *task.CreateTaskRequest, stdin bool) error {
	req.Stdin = ""
	if stdin {
		path := filepath.Join(req.Bundle, "input")
		if err := unix.Mkfifo(path, 0o600); err != nil && err != unix.EEXIST {
			return &os.PathError{Op: "mkfifo", Path: path, Err: err}
		}
		input, err := os.OpenFile(path, os.O_RDWR|unix.O_NONBLOCK, 0) // for writing alone it would need the reader first
		if err != nil {
			return err
		}
		t.input, req.Stdin = input, path
	}
	path := filepath.Join(req.Bundle, "terminal")
	if err := unix.Mkfifo(path, 0o600); err != nil && err != unix.EEXIST {
		return &os.PathError{Op: "mkfifo", Path: path, Err: err}
	}
	r, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	t.source(r, crilog.Stdout)
	if t.stdout, err = os.OpenFile(path, os.O_WRONLY|unix.O_NONBLOCK, 0); err != nil {
		return err
	}
	req.Stdout, req.Stderr = path, ""
	return nil
}

// connect sets the standard files of the runc process that creates the task.
func (t *taskLog) connect(c *exec.Cmd) {
	if t.stderr == nil { // a terminal: runc itself makes it
		return
	}
	c.Stdout, c.Stderr = t.stdout, t.stderr
	if t.stdin != nil {
		c.Stdin = t.stdin
	}
}

// start begins to read, once the container has the other ends.
func (t *taskLog) start(buffers *sync.Pool) {
	t.closeOurEnds()
	t.running.Store(int32(len(t.sources)))
	for _, s := range t.sources {
		t.drained.Go(func() {
			drain(s, buffers)
			s.file.Close()
			s.sink.Close()
			if t.running.Add(-1) == 0 {
				t.audience.end()
			}
		})
	}
}

// feed writes to the container's standard input. It waits until the container, or
// the terminal, takes it. After the input's end it is dropped.
func (t *taskLog) feed(p []byte) {
	t.feeding.Lock()
	defer t.feeding.Unlock()
	if t.input != nil {
		_, _ = t.input.Write(p) // nobody reads it any more
	}
}

// finish returns when all that was written is in the log. It is called after
// the container's last process has ended.
func (t *taskLog) finish() {
	t.closeStdin()
	deadline := time.Now().Add(lingering)
	for _, s := range t.sources {
		_ = s.file.SetReadDeadline(deadline) // closed already: at its end
	}
	t.drained.Wait()
	t.writer.Close()
}

// abort gives up a task that was not created. What runc may have said on the
// container's output is in the error that the service returns.
func (t *taskLog) abort() {
	t.audience.end()
	t.closeOurEnds()
	t.closeStdin()
	for _, s := range t.sources {
		s.file.Close()
	}
	if t.writer != nil {
		t.writer.Close()
	}
}

func (t *taskLog) closeOurEnds() {
	for _, f := range []*os.File{t.stdin, t.stdout, t.stderr} {
		if f != nil {
			f.Close()
		}
	}
}

func (t *taskLog) closeStdin() {
	t.inputOnce.Do(func() {
		if t.input != nil {
			t.input.Close()
		}
	})
}

// drainSize is the capacity of a pipe.
const drainSize = 64 << 10

// drain copies until the end of the file. When its read deadline has passed it
// takes what is there by then, and no more. No memory is held while waiting.
func drain(s source, buffers *sync.Pool) {
	conn, err := s.file.SyscallConn()
	if err != nil {
		return
	}
	for {
		ended := false
		err := conn.Read(func(fd uintptr) bool {
			more := false
			more, ended = copyOnce(int(fd), s, buffers)
			return more || ended
		})
		if ended {
			return
		}
		if err != nil { // the deadline
			_ = conn.Control(func(fd uintptr) { copyOnce(int(fd), s, buffers) })
			return
		}
	}
}

// copyOnce copies what one read gives, if anything.
func copyOnce(fd int, s source, buffers *sync.Pool) (more, ended bool) {
	buf := buffers.Get().(*[drainSize]byte)
	defer buffers.Put(buf)
	for {
		n, err := syscall.Read(fd, buf[:])
		switch {
		case err == syscall.EINTR:
			continue
		case err == syscall.EAGAIN:
			return false, false
		case err != nil || n == 0:
			return false, true
		}
		_, _ = s.sink.Write(buf[:n]) // never fails
		s.show(buf[:n])
		return true, false
	}
}
