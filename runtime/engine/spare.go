// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/pkg/shim"
	"github.com/containerd/containerd/v2/pkg/sys"
	ctdlog "github.com/containerd/log"
	"golang.org/x/sys/unix"
)

const (
	// sparePrefix begins the IDs of shims that were started before it was known
	// which sandbox they would be for.
	sparePrefix = "spare-"
	// spareCalm is how long after the last shim was taken the next one is made:
	// the Pod that took it is starting, and more may be to come.
	spareCalm = 250 * time.Millisecond
	// spareEnd bounds how long the end of a shim that was not taken is waited for.
	spareEnd = 5 * time.Second
)

// shimVersion is that of the task service, which lets containers join the shim.
const shimVersion = 3

// spares starts shims: one ahead of the sandbox that will need it, or one at
// once. Containerd would run the shim's start command for each, which starts the
// shim: two programs one after the other, and half of the time that a Pod with
// one container takes to start.
//
// A spare ends by itself when the agent does: they share a pipe.
type spares struct {
	cfg       Config
	bundles   string // its working directory until it has a bundle
	socketDir string

	mu     sync.Mutex
	next   *spare // nil when there is none
	timer  *time.Timer
	closed bool
}

// spare is a running shim that is not yet taken.
type spare struct {
	address string
	pipe    *os.File // a byte says that it is taken; an end without one, that it never will be
	words   *os.File // what it says on standard error until it is taken
	ended   chan struct{}
	// failure is why it ended before it was taken, when that was its own doing. It is
	// there when ended is closed.
	failure error
}

// newSpares begins with a spare some time from now; nil when cfg names no shim.
func newSpares(cfg Config, bundles, socketDir string) *spares {
	if cfg.Shim == "" {
		return nil
	}
	s := &spares{cfg: cfg, bundles: bundles, socketDir: socketDir}
	s.timer = time.AfterFunc(spareCalm, s.refill)
	return s
}

// NewShim gives a shim for the task of a sandbox that is about to be created, as
// a CreateTaskRequest names it (task_api_address, task_api_version). Should that
// task never be asked for, the next engine's start ends the shim. It is an error
// unless Config.Shim was set.
func (e *Engine) NewShim(ctx context.Context) (address string, version uint32, err error) {
	if e.spares == nil {
		return "", 0, errors.New("containerd starts the shims of this engine")
	}
	address, err = e.spares.take(e.Context(ctx))
	return address, shimVersion, err
}

func (s *spares) take(ctx context.Context) (address string, err error) {
	s.mu.Lock()
	one := s.next
	s.next = nil
	if !s.closed {
		s.timer.Reset(spareCalm)
	}
	s.mu.Unlock()
	if one != nil {
		if one.take() {
			return "ttrpc+" + one.address, nil
		}
		if err := one.whyEnded(ctx); err != nil {
			return "", err // another one would fare no better
		}
	}
	if one, err = s.start(ctx); err != nil {
		return "", err
	}
	if !one.take() {
		return "", cmp.Or(one.whyEnded(ctx), fmt.Errorf("%s ended at once", s.cfg.Shim))
	}
	return "ttrpc+" + one.address, nil
}

// take is false when the shim has ended.
func (one *spare) take() bool {
	_, err := one.pipe.Write([]byte{1})
	one.pipe.Close()
	select {
	case <-one.ended:
		return false
	default:
	}
	if err == nil {
		one.words.Close()
	}
	return err == nil
}

// whyEnded is the failure of a shim that has closed its end of the pipe; nil if it was
// killed.
func (one *spare) whyEnded(ctx context.Context) error {
	select {
	case <-one.ended:
		return one.failure
	case <-ctx.Done():
		return ctx.Err()
	}
}

// failureOf is what a shim that has exited says; nil if it was taken, was killed, or
// ended in good order.
func (s *spares) failureOf(state *os.ProcessState, words *os.File) error {
	if state.ExitCode() <= 0 {
		return nil
	}
	said := make([]byte, 300)
	n, err := words.ReadAt(said, 0)
	if errors.Is(err, os.ErrClosed) {
		return nil
	}
	return fmt.Errorf("the shim %s ended before a Pod was given to it, with %s, and says %q; if it is of another version than this program, "+
		"install both from one build or remove it", s.cfg.Shim, state, bytes.TrimSpace(said[:n]))
}

// refill makes the next spare unless there is one.
func (s *spares) refill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.next != nil {
		return
	}
	ctx := namespaces.WithNamespace(context.Background(), s.cfg.Namespace)
	one, err := s.start(ctx)
	if err != nil {
		ctdlog.G(ctx).WithError(err).Warn("no shim ahead of the next Pod")
		return
	}
	s.next = one
}

// start starts a shim. It can be taken at once: its socket listens already.
func (s *spares) start(ctx context.Context) (_ *spare, err error) {
	id := sparePrefix + strings.ToLower(rand.Text())
	address, err := shim.CreateSocketAddress(ctx, s.socketDir, s.cfg.apiAddress(), id, false)
	if err != nil {
		return nil, fmt.Errorf("shim socket: %w", err)
	}
	if err := os.MkdirAll(s.bundles, 0o711); err != nil { // as containerd makes it
		return nil, fmt.Errorf("directory of the bundles: %w", err)
	}
	listener, err := shim.NewSocket(address)
	if err != nil {
		return nil, fmt.Errorf("shim socket: %w", err)
	}
	defer func() {
		if err != nil {
			_ = shim.RemoveSocket(address)
		}
	}()
	listener.SetUnlinkOnClose(false)
	defer listener.Close()
	socket, err := listener.File()
	if err != nil {
		return nil, fmt.Errorf("shim socket: %w", err)
	}
	defer socket.Close()
	read, write, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("pipe of a shim: %w", err)
	}
	defer read.Close()
	cmd := exec.Command(s.cfg.Shim, "-namespace", s.cfg.Namespace, "-id", id, "-address", s.cfg.apiAddress(), "-spare")
	cmd.Dir, cmd.ExtraFiles = s.bundles, []*os.File{socket, read}
	cmd.Env = append(append(os.Environ(), "GOMAXPROCS=1", "TTRPC_ADDRESS="+s.cfg.ttrpcAddress()), s.cfg.ShimEnv...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	// A file, for a pipe would end with the agent. A shim with a Pod logs elsewhere.
	memory, err := unix.MemfdCreate("shim", unix.MFD_CLOEXEC)
	if err != nil {
		write.Close()
		return nil, fmt.Errorf("standard error of a shim: %w", err)
	}
	words := os.NewFile(uintptr(memory), "standard error of a shim")
	cmd.Stderr = words
	if err := cmd.Start(); err != nil {
		write.Close()
		words.Close()
		return nil, fmt.Errorf("start %s: %w", s.cfg.Shim, err)
	}
	one := &spare{address: address, pipe: write, words: words, ended: make(chan struct{})}
	go func() {
		_ = cmd.Wait() // what there is to say of it is in its state
		if one.failure = s.failureOf(cmd.ProcessState, words); one.failure != nil {
			ctdlog.G(ctx).WithError(one.failure).Error("Pods cannot start")
			_ = shim.RemoveSocket(address)
		}
		words.Close()
		close(one.ended)
	}()
	// One more than the agent's own, as containerd does it: the kernel ends shims first.
	if score, err := sys.GetOOMScoreAdj(os.Getpid()); err == nil {
		_ = sys.AdjustOOMScore(cmd.Process.Pid, score+1)
	}
	return one, nil
}

// EndSpare ends the shim that was started ahead of the next sandbox, if there is
// one, and starts no other. Close does so too.
func (e *Engine) EndSpare() error {
	if e.spares == nil {
		return nil
	}
	return e.spares.close()
}

// close ends the spare and waits for that.
func (s *spares) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.timer.Stop()
	if s.next == nil {
		return nil
	}
	s.next.pipe.Close() // closed before is fine
	select {
	case <-s.next.ended:
		s.next = nil
		return nil
	case <-time.After(spareEnd):
		return fmt.Errorf("the shim that waited for a sandbox does not end")
	}
}

// taken tells whether a bundle of the namespace was given the shim with this
// socket.
func (s strays) taken(namespace, address string) bool {
	files, _ := filepath.Glob(filepath.Join(s.tasks, namespace, "*", bootstrapFile))
	for _, file := range files {
		if data, err := os.ReadFile(file); err == nil && strings.Contains(string(data), filepath.Base(address)) {
			return true
		}
	}
	return false
}
