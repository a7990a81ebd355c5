// SPDX-License-Identifier: Apache-2.0

package shim

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"time"

	taskapi "github.com/containerd/containerd/api/runtime/task/v3"
	"github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2/task"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/pkg/shim"
	"github.com/containerd/containerd/v2/pkg/shutdown"
	"github.com/containerd/containerd/v2/pkg/sys/reaper"
	"github.com/containerd/fifo"
	"github.com/containerd/go-runc"
	"github.com/containerd/log"
	"github.com/containerd/ttrpc"
	"golang.org/x/sys/unix"
)

const (
	// The descriptors of the listening sockets that the start command leaves;
	// the second is there when debugging, and not used.
	socketFD, debugFD = 3, 4
	// takenFD is a pipe that a spare shim has from the agent.
	takenFD = 4
	// gcPercent keeps the heap small, which is small anyway.
	gcPercent = 20
	// settled is how long after the last request the garbage is given back.
	settled = 2 * time.Second
)

// serve runs the runc task service until containerd shuts it down. The working
// directory is the bundle of the first task; a spare begins in the directory of
// the bundles.
func (s server) serve(ctx context.Context) error {
	// The start command asks for four threads by the environment.
	runtime.GOMAXPROCS(1)
	debug.SetGCPercent(gcPercent)

	// Before any child can end. SIGPIPE is caught so that a log pipe without a
	// reader, the agent being down, is but an error of the write.
	signals := make(chan os.Signal, 32)
	signal.Notify(signals, unix.SIGCHLD, unix.SIGPIPE, unix.SIGTERM, unix.SIGINT, unix.SIGUSR1)
	if err := reaper.SetSubreaper(1); err != nil {
		return fmt.Errorf("become the subreaper: %w", err)
	}
	ctx, sd := shutdown.WithShutdown(namespaces.WithNamespace(ctx, s.namespace))
	defer sd.Shutdown()
	bundles, err := os.Getwd()
	if err != nil {
		return fmt.Errorf("the bundle: %w", err)
	}
	if !s.spare {
		bundles = filepath.Dir(bundles)
		if err := s.openLog(ctx); err != nil {
			return err
		}
	}
	sockets, err := s.listen()
	if err != nil {
		return err
	}
	defer sockets.remove()
	server, err := s.newServer(ctx, sd, bundles)
	if err != nil {
		return err
	}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(ctx, sockets[0]) }()
	if s.spare {
		go awaitTaker(os.NewFile(takenFD, "taken"), sd)
	}
	return handle(ctx, signals, failed, sd)
}

// newServer makes the task service with the logs in front of it.
func (s server) newServer(ctx context.Context, sd shutdown.Service, bundles string) (*ttrpc.Server, error) {
	publisher, err := shim.NewPublisher(os.Getenv("TTRPC_ADDRESS"))
	if err != nil {
		return nil, fmt.Errorf("connect to containerd's events: %w", err)
	}
	// The service's OOM watcher takes none but a cancelled context for its end; with
	// the shutdown's own error it spins, and fills the log, until the process is gone.
	watched, cancel := context.WithCancel(context.WithoutCancel(ctx))
	context.AfterFunc(ctx, cancel)
	service, err := task.NewTaskService(watched, publisher, sd)
	if err != nil {
		return nil, fmt.Errorf("task service: %w", err)
	}
	l := newLogs()
	sd.RegisterCallback(l.closeAll)
	runc.Monitor = monitor{runc.Monitor, l, newDirect()} // in front of the service's
	intercept := tidy(newTurns().intercept(starting(bundles, creating(l.intercept))))
	if s.spare {
		intercept = s.settling(ctx, bundles, intercept)
	}
	server, err := ttrpc.NewServer(
		ttrpc.WithServerHandshaker(ttrpc.UnixSocketRequireSameUser()),
		ttrpc.WithUnaryServerInterceptor(intercept),
	)
	if err != nil {
		return nil, fmt.Errorf("ttrpc server: %w", err)
	}
	taskapi.RegisterTTRPCTaskService(server, service)
	return server, nil
}

// tidy gives memory back when there was no request for a while, and never while
// the shim is idle.
func tidy(next ttrpc.UnaryServerInterceptor) ttrpc.UnaryServerInterceptor {
	timer := time.AfterFunc(settled, debug.FreeOSMemory)
	return func(ctx context.Context, u ttrpc.Unmarshaler, info *ttrpc.UnaryServerInfo, method ttrpc.Method) (any, error) {
		defer timer.Reset(settled)
		return next(ctx, u, info, method)
	}
}

// handle acts on signals until the shim is shut down, which ends its context, or
// its server has failed.
func handle(ctx context.Context, signals <-chan os.Signal, failed <-chan error, sd shutdown.Service) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-failed:
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("ttrpc server: %w", err)
		case sig := <-signals:
			switch sig {
			case unix.SIGCHLD:
				if err := reaper.Reap(); err != nil {
					log.L.WithError(err).Error("reap children")
				}
			case unix.SIGTERM, unix.SIGINT:
				sd.Shutdown()
			case unix.SIGUSR1:
				stacks := make([]byte, 1<<20)
				log.L.Infof("goroutines:\n%s", stacks[:runtime.Stack(stacks, true)])
			}
		}
	}
}

// openLog sends the shim's own log and its standard error to the FIFO that
// containerd reads, and reads again after a restart.
func (s server) openLog(ctx context.Context) error {
	f, err := fifo.OpenFifoDup2(ctx, "log", unix.O_WRONLY, 0o700, int(os.Stderr.Fd()))
	if err != nil {
		return fmt.Errorf("the shim's log: %w", err)
	}
	log.L.Logger.SetOutput(f)
	if err := log.SetFormat(log.TextFormat); err != nil {
		return err
	}
	if s.debug {
		return log.SetLevel("debug")
	}
	return nil
}

// sockets are the inherited listeners, the task service's first.
type sockets []net.Listener

func (s server) listen() (sockets, error) {
	fds := []uintptr{socketFD}
	if s.debug && !s.spare {
		fds = append(fds, debugFD)
	}
	var all sockets
	for _, fd := range fds {
		file := os.NewFile(fd, "socket")
		l, err := net.FileListener(file)
		if err != nil {
			return nil, fmt.Errorf("the socket that the start command leaves: %w", err)
		}
		file.Close()
		all = append(all, l)
	}
	return all, nil
}

// remove removes the sockets' files.
func (s sockets) remove() {
	for _, l := range s {
		_ = shim.RemoveSocket("unix://" + l.Addr().String()) // gone is fine
		l.Close()
	}
}
