// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	task "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/containerd/v2/core/mount"
	runtimev2 "github.com/containerd/containerd/v2/core/runtime/v2"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/pkg/shim"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	ctdlog "github.com/containerd/log"
	"github.com/containerd/ttrpc"
	"golang.org/x/sys/unix"
)

const (
	// strayPoll is how often a process is looked for that is about to end.
	strayPoll = 2 * time.Millisecond
	// strayPatience bounds how long it is waited for.
	strayPatience = 20 * time.Second
	// bootstrapFile is what containerd writes into a bundle once it knows its shim,
	// and before it asks that shim to create a task.
	bootstrapFile = "bootstrap.json"
)

// TempMounts has this process' temporary mounts of images made below dir, and
// ends those that a killed process left there. It is called before an engine is
// started or connected to; the caller holds a lock that covers dir. It concerns
// the whole process, as the setting is one of containerd's package mount.
func TempMounts(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("directory of temporary mounts: %w", err)
	}
	if err := mount.SetTempMountLocation(dir); err != nil {
		return fmt.Errorf("directory of temporary mounts: %w", err)
	}
	warnings, err := mount.CleanupTempMounts(unix.MNT_DETACH)
	if err = errors.Join(append(warnings, err)...); err != nil {
		return fmt.Errorf("end the temporary mounts in %s: %w", dir, err)
	}
	return nil
}

// shimCall is a running process of a shim's executable.
type shimCall struct {
	pid           int
	namespace, id string
	// action is start or delete, for the commands that containerd runs and waits
	// for; empty for the shim itself.
	action string
}

// strays ends what engines that were killed left half-done: those with the
// containerd address addr, whose bundles are below tasks and whose shims' sockets
// are in socketDir. The caller holds the lock, so no such engine runs.
type strays struct {
	address, tasks, socketDir string
	work                      string // the directories that bundles have on disk are below it
}

// end ends start commands whose result nobody will read, and shims that no bundle
// knows because of that: they never had a task. Clean-up commands are waited for.
// It is called before shims are loaded.
func (s strays) end(ctx context.Context) error {
	for deadline := time.Now().Add(strayPatience); ; time.Sleep(strayPoll) {
		busy, err := s.pass(ctx)
		if err != nil {
			return err
		}
		if !busy {
			return errors.Join(s.removeHidden(), s.removeWork(), removeDeaf(s.socketDir))
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("the commands of an earlier agent on %s have not ended after %v", s.tasks, strayPatience)
		}
	}
}

// pass looks at all processes once and tells whether to look again.
func (s strays) pass(ctx context.Context) (busy bool, err error) {
	for _, c := range s.calls() {
		switch {
		case c.action == "delete":
			busy = true
		case c.action == "start":
			// Its shim, if it has one already, is met in the next pass.
			busy = true
			s.kill(c)
		case !s.known(ctx, c):
			busy = true
			s.kill(c)
			if err := s.removeSockets(ctx, c); err != nil {
				return false, err
			}
		}
	}
	return busy, nil
}

// cleaned waits until no clean-up command runs.
func (s strays) cleaned() {
	deadline := time.Now().Add(strayPatience)
	for slices.ContainsFunc(s.calls(), func(c shimCall) bool { return c.action == "delete" }) && time.Now().Before(deadline) {
		time.Sleep(strayPoll)
	}
}

// drop gives up the loaded shims that have no task: the engine was killed before
// it was created, or after it was deleted. Then it waits for the clean-up
// commands that loading and dropping start: they must not meet the next container
// of the same ID.
func (s strays) drop(ctx context.Context, shims *runtimev2.ShimManager) {
	bundles, _ := filepath.Glob(filepath.Join(s.tasks, "*", "*", bootstrapFile))
	for _, path := range bundles {
		bundle := filepath.Dir(path)
		ctx := namespaces.WithNamespace(ctx, filepath.Base(filepath.Dir(bundle)))
		loaded, err := shims.Get(ctx, filepath.Base(bundle))
		if err != nil {
			continue
		}
		connection, ok := loaded.Client().(*ttrpc.Client)
		if !ok {
			continue
		}
		service := task.NewTTRPCTaskClient(connection)
		_, err = service.State(ctx, &task.StateRequest{ID: loaded.ID()})
		if !errdefs.IsNotFound(errgrpc.ToNative(err)) {
			continue
		}
		// A shim that has other tasks goes on.
		if _, err := service.Shutdown(ctx, &task.ShutdownRequest{ID: loaded.ID()}); err != nil {
			ctdlog.G(ctx).WithError(err).WithField("id", loaded.ID()).Debug("end a shim without a task")
		}
		if err := shims.Delete(ctx, loaded.ID()); err != nil {
			ctdlog.G(ctx).WithError(err).WithField("id", loaded.ID()).Warn("drop a shim without a task")
		}
	}
	s.cleaned()
}

// removeHidden removes bundles whose removal a kill interrupted: it begins by
// unmounting and renaming them.
func (s strays) removeHidden() error {
	bundles, _ := filepath.Glob(filepath.Join(s.tasks, "*", ".*"))
	for _, path := range bundles {
		if err := mount.UnmountRecursive(path, 0); err != nil {
			return fmt.Errorf("unmount what is left of a container: %w", err)
		}
		if err := os.RemoveAll(path); err != nil {
			return fmt.Errorf("remove what is left of a container: %w", err)
		}
	}
	return nil
}

// removeWork removes directories whose bundle is gone: containerd looks for them
// only where there are bundles, and after a reboot there are none.
func (s strays) removeWork() error {
	dirs, _ := filepath.Glob(filepath.Join(s.work, "*", "*"))
	for _, path := range dirs {
		bundle := filepath.Join(s.tasks, filepath.Base(filepath.Dir(path)), filepath.Base(path))
		if _, err := os.Lstat(bundle); !errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err := os.RemoveAll(path); err != nil {
			return fmt.Errorf("remove what is left of a container: %w", err)
		}
	}
	return nil
}

// known tells whether a bundle names the shim: by its own ID, or, when it was
// started before it was known whose it would be, by its socket.
func (s strays) known(ctx context.Context, c shimCall) bool {
	if strings.HasPrefix(c.id, sparePrefix) {
		address, err := shim.CreateSocketAddress(namespaces.WithNamespace(ctx, c.namespace), s.socketDir, s.address, c.id, false)
		return err == nil && s.taken(c.namespace, address)
	}
	_, err := os.Lstat(filepath.Join(s.tasks, c.namespace, c.id, bootstrapFile))
	return err == nil
}

// kill kills the process if it is still the same.
func (s strays) kill(c shimCall) {
	fd, err := unix.PidfdOpen(c.pid, 0)
	if err != nil {
		return // gone
	}
	defer unix.Close(fd)
	if again, ok := s.call(c.pid); ok && again == c {
		_ = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0) // gone is fine
	}
}

// removeSockets removes the sockets of a shim that had no time to do so.
func (s strays) removeSockets(ctx context.Context, c shimCall) error {
	for _, debug := range []bool{false, true} {
		address, err := shim.CreateSocketAddress(namespaces.WithNamespace(ctx, c.namespace), s.socketDir, s.address, c.id, debug)
		if err != nil {
			return err
		}
		if err := shim.RemoveSocket(address); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove the socket of a shim without a task: %w", err)
		}
	}
	return nil
}

// removeDeaf removes the sockets in a directory that nobody listens at: a start command
// makes its shim's socket, and may be killed before it starts the shim, which would
// remove it.
func removeDeaf(dir string) error {
	paths, _ := filepath.Glob(filepath.Join(dir, "*"))
	for _, path := range paths {
		conn, err := net.Dial("unix", path)
		if err == nil {
			conn.Close()
			continue
		}
		if !errors.Is(err, unix.ECONNREFUSED) {
			continue // busy, or gone
		}
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove the socket of a shim that is not there: %w", err)
		}
	}
	return nil
}

// calls are the shims and shim commands that were started for this engine.
func (s strays) calls() []shimCall {
	var out []shimCall
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if c, ok := s.call(pid); ok {
			out = append(out, c)
		}
	}
	return out
}

// call reads a process' command line, which is empty for zombies.
func (s strays) call(pid int) (shimCall, bool) {
	data, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cmdline"))
	if err != nil || !bytes.Contains(data, []byte("\x00-address\x00"+s.address+"\x00")) {
		return shimCall{}, false
	}
	args := strings.Split(strings.TrimSuffix(string(data), "\x00"), "\x00")
	if !strings.HasPrefix(filepath.Base(args[0]), "containerd-shim-") {
		return shimCall{}, false
	}
	c := shimCall{pid: pid}
	for i, arg := range args[:len(args)-1] {
		switch arg {
		case "-namespace":
			c.namespace = args[i+1]
		case "-id":
			c.id = args[i+1]
		}
	}
	if last := args[len(args)-1]; last == "start" || last == "delete" {
		c.action = last
	}
	return c, c.namespace != "" && c.id != ""
}
