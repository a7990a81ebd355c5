// SPDX-License-Identifier: Apache-2.0

package shim

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"syscall"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/minikubelet/minikubelet/runtime/pause"
)

// pauses does the work of runc for tasks that are pause processes. Such a
// process needs a fraction of what runc sets up, and three runc processes for
// each Pod cost more than all else in the life of its sandbox. The task service
// is none the wiser: it calls runc, finds a process ID in a file, and reaps it.
type pauses struct {
	mu    sync.Mutex
	tasks map[string]*pause.Process
	// outcomes are those of commands that were answered and not yet waited for.
	outcomes map[*exec.Cmd]error
}

func newPauses() *pauses {
	return &pauses{tasks: make(map[string]*pause.Process), outcomes: make(map[*exec.Cmd]error)}
}

// answer does a command's work and keeps the outcome; false when it has to be run.
func (p *pauses) answer(c *exec.Cmd) bool {
	ours, err := p.run(c.Args)
	if ours {
		p.mu.Lock()
		p.outcomes[c] = err
		p.mu.Unlock()
	}
	return ours
}

// outcome is that of a command, once; false when it was not answered.
func (p *pauses) outcome(c *exec.Cmd) (error, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	err, ok := p.outcomes[c]
	delete(p.outcomes, c)
	return err, ok
}

// errEnded is in runc's words: the task service looks for them.
var errEnded = errors.New("container not running")

// run does what a runc command asks for, if it is about a pause process; false
// when it is runc's own affair.
func (p *pauses) run(args []string) (bool, error) {
	at := slices.IndexFunc(args, func(a string) bool { return slices.Contains(commands, a) })
	if at < 0 {
		return false, nil
	}
	if args[at] == "create" {
		return p.create(args[at+1:])
	}
	id := args[len(args)-1]
	if args[at] == "kill" {
		id = args[len(args)-2]
	}
	p.mu.Lock()
	process := p.tasks[id]
	p.mu.Unlock()
	if process == nil {
		return false, nil
	}
	switch args[at] {
	case "start": // it runs since its creation: nobody can tell
		return true, nil
	case "kill":
		return true, send(process, args[len(args)-1])
	case "delete":
		p.mu.Lock()
		delete(p.tasks, id)
		p.mu.Unlock()
		process.Close()
		return true, nil
	}
	return true, fmt.Errorf("runc %s: not for a pause process", args[at])
}

// commands of runc that name a container at their end.
var commands = []string{"create", "start", "kill", "delete", "exec", "pause", "resume", "update", "checkpoint", "restore", "ps", "events"}

// create runs the process of the bundle when its specification says so.
func (p *pauses) create(args []string) (bool, error) {
	bundle, pidFile := after(args, "--bundle"), after(args, "--pid-file")
	if bundle == "" || pidFile == "" {
		return false, nil
	}
	data, err := os.ReadFile(filepath.Join(bundle, "config.json"))
	if err != nil {
		return false, nil // runc tells what is wrong
	}
	var spec specs.Spec
	if err := json.Unmarshal(data, &spec); err != nil || pause.Cgroups(&spec) == nil {
		return false, nil
	}
	process, err := pause.Start(&spec)
	if err != nil {
		return true, err
	}
	if err := os.WriteFile(pidFile, []byte(strconv.Itoa(process.PID)), 0o600); err != nil {
		return true, errors.Join(err, process.Signal(unix.SIGKILL))
	}
	p.mu.Lock()
	p.tasks[args[len(args)-1]] = process
	p.mu.Unlock()
	return true, nil
}

func after(args []string, flag string) string {
	if i := slices.Index(args, flag); i >= 0 && i+1 < len(args) {
		return args[i+1]
	}
	return ""
}

func send(p *pause.Process, number string) error {
	n, err := strconv.Atoi(number)
	if err != nil {
		return fmt.Errorf("signal %q: %w", number, err)
	}
	if err = p.Signal(syscall.Signal(n)); errors.Is(err, unix.ESRCH) {
		return errEnded
	}
	return err
}
