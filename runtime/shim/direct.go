// SPDX-License-Identifier: Apache-2.0

package shim

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"sync"

	"github.com/containerd/go-runc"
	"golang.org/x/sys/unix"
)

// monitor starts the shim's runc processes, or does their work.
//
// A runc process costs 8 ms of processor time before it has done anything, and
// the life of a container takes four: create, start, kill and delete. The last
// three come down to opening a FIFO, sending a signal, and removing directories.
// Those the shim does itself where that is all there is to it; whatever is not
// as expected is left to runc. The task service is none the wiser.
type monitor struct {
	runc.ProcessMonitor
	logs   *logs
	direct *direct
}

func (m monitor) Start(c *exec.Cmd) (chan runc.Exit, error) {
	return m.start(c, m.ProcessMonitor.Start)
}

func (m monitor) StartLocked(c *exec.Cmd) (chan runc.Exit, error) {
	return m.start(c, m.ProcessMonitor.StartLocked)
}

func (m monitor) start(c *exec.Cmd, run func(*exec.Cmd) (chan runc.Exit, error)) (chan runc.Exit, error) {
	if m.direct.answer(c) {
		return nil, nil
	}
	m.logs.connect(c)
	return run(c)
}

func (m monitor) Wait(c *exec.Cmd, ec chan runc.Exit) (int, error) {
	if err, ok := m.direct.outcome(c); ok {
		return 0, err
	}
	status, err := m.ProcessMonitor.Wait(c, ec)
	if err == nil && status == 0 {
		m.direct.created(c.Args)
	}
	return status, err
}

// direct does runc's work without runc. It is safe for concurrent use.
type direct struct {
	mu        sync.Mutex
	processes map[string]child // by task, from its creation to its deletion
	// outcomes are those of commands that were answered and not yet waited for.
	outcomes map[*exec.Cmd]error
}

// child is the first process of a task.
type child struct {
	pid int
	fd  int // a pidfd
	// alone: it is process 1 of a PID namespace of its own, so that all others of the
	// task end with it.
	alone bool
	// pause: runc does not know of it.
	pause bool
}

func newDirect() *direct {
	return &direct{processes: make(map[string]child), outcomes: make(map[*exec.Cmd]error)}
}

// answer does a command's work and keeps the outcome; false when it has to be run.
func (d *direct) answer(c *exec.Cmd) bool {
	done, err := d.do(c.Args, c.Stdout)
	if done {
		d.mu.Lock()
		d.outcomes[c] = err
		d.mu.Unlock()
	}
	return done
}

// outcome is that of a command, once; false when it was not answered.
func (d *direct) outcome(c *exec.Cmd) (error, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	err, ok := d.outcomes[c]
	delete(d.outcomes, c)
	return err, ok
}

// command is what is needed of a runc command line:
// runc --root root … name … id [signal].
type command struct {
	name, root, id string
	args           []string // behind the name
}

// names of runc's commands about a container.
var names = []string{"create", "start", "kill", "delete", "exec", "pause", "resume", "update", "checkpoint", "restore", "ps", "events"}

func parseCommand(args []string) (command, bool) {
	at := slices.IndexFunc(args, func(a string) bool { return slices.Contains(names, a) })
	if at < 0 || at+1 >= len(args) {
		return command{}, false
	}
	c := command{name: args[at], root: after(args[:at], "--root"), args: args[at+1:]}
	c.id = c.args[len(c.args)-1]
	if c.name == "kill" {
		if len(c.args) < 2 {
			return command{}, false
		}
		c.id = c.args[len(c.args)-2]
	}
	return c, c.root != ""
}

func after(args []string, flag string) string {
	if i := slices.Index(args, flag); i >= 0 && i+1 < len(args) {
		return args[i+1]
	}
	return ""
}

// do does what a command asks for, and writes what it prints to out; false when it
// is one for runc.
func (d *direct) do(args []string, out io.Writer) (bool, error) {
	c, ok := parseCommand(args)
	if !ok {
		return false, nil
	}
	if c.name == "create" {
		return d.createPause(c)
	}
	d.mu.Lock()
	p, ok := d.processes[c.id]
	d.mu.Unlock()
	if !ok {
		return false, nil
	}
	switch c.name {
	case "start":
		if p.pause { // it runs since its creation: nobody can tell
			return true, nil
		}
		return start(c, p)
	case "kill":
		return kill(c, p)
	case "delete":
		d.forget(c.id)
		if p.pause { // its cgroup is the agent's
			return true, nil
		}
		return remove(c, p), nil
	}
	switch {
	case !p.pause:
		return false, nil
	case c.name == "ps" && out != nil: // containerd asks when it finds the task again
		_, err := fmt.Fprintf(out, "[%d]\n", p.pid)
		return true, err
	}
	return true, fmt.Errorf("runc %s: not for a pause process", c.name)
}

// created takes note of a process that runc has made.
func (d *direct) created(args []string) {
	c, ok := parseCommand(args)
	pidFile := after(c.args, "--pid-file")
	if !ok || c.name != "create" || pidFile == "" {
		return
	}
	data, err := os.ReadFile(pidFile)
	if err != nil {
		return
	}
	pid, err := strconv.Atoi(string(bytes.TrimSpace(data)))
	if err != nil {
		return
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return
	}
	d.add(c.id, child{pid: pid, fd: fd, alone: isInit(pid)})
}

// isInit says whether a process is number 1 of the innermost PID namespace it is in.
func isInit(pid int) bool {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return false
	}
	for line := range bytes.Lines(status) {
		if ids, ok := bytes.CutPrefix(line, []byte("NSpid:")); ok {
			fields := bytes.Fields(ids)
			return len(fields) > 1 && string(fields[len(fields)-1]) == "1"
		}
	}
	return false
}

func (d *direct) add(id string, p child) {
	d.forget(id)
	d.mu.Lock()
	d.processes[id] = p
	d.mu.Unlock()
}

func (d *direct) forget(id string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if p, ok := d.processes[id]; ok {
		delete(d.processes, id)
		_ = unix.Close(p.fd)
	}
}

// errEnded is in runc's words: the task service looks for them.
var errEnded = errors.New("container not running")

// kill sends a signal to the first process. What else runs in a PID namespace
// that it shares is runc's business.
func kill(c command, p child) (bool, error) {
	number, err := strconv.Atoi(c.args[len(c.args)-1])
	if err != nil || !p.alone || len(c.args) != 2 {
		return false, nil
	}
	if err = unix.PidfdSendSignal(p.fd, unix.Signal(number), nil, 0); errors.Is(err, unix.ESRCH) {
		return true, errEnded
	}
	return true, err
}

// startFIFO is where a process that runc has made waits for its start: somebody has to
// read a byte from it.
const startFIFO = "exec.fifo"

// start lets the process go on, as runc's start does.
func start(c command, p child) (bool, error) {
	path := filepath.Join(c.root, c.id, startFIFO)
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return false, nil // runc tells why
	}
	defer unix.Close(fd)
	for {
		ready := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}, {Fd: int32(p.fd), Events: unix.POLLIN}}
		if _, err := unix.Poll(ready, -1); errors.Is(err, unix.EINTR) {
			continue
		} else if err != nil {
			return true, fmt.Errorf("wait for the process: %w", err)
		}
		var b [1]byte
		if n, err := unix.Read(fd, b[:]); n == 1 {
			return true, os.Remove(path)
		} else if errors.Is(err, unix.EINTR) || errors.Is(err, unix.EAGAIN) && ready[1].Revents == 0 {
			continue
		}
		if ready[1].Revents != 0 {
			return true, errors.New("container process is already dead")
		}
		return true, errors.New("cannot start an already running container")
	}
}
