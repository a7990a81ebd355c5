// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/metadata"
	runtimev2 "github.com/containerd/containerd/v2/core/runtime/v2"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/pkg/timeout"
	"github.com/containerd/containerd/v2/plugins"
	ctdlog "github.com/containerd/log"
	"github.com/containerd/plugin"
	"github.com/containerd/plugin/registry"
)

// Config says where an embedded containerd keeps its things. Root and State
// must be the same again at the next start for containers to be found again.
type Config struct {
	Root      string       // images, snapshots, metadata: survives a reboot
	State     string       // bundles and sockets: on a tmpfs, gone after a reboot
	Namespace string       // DefaultNamespace when empty
	Shim      string       // the shim's executable, for NewShim; may be empty
	ShimEnv   []string     // added to the environment of every shim
	Log       *slog.Logger // where containerd's log goes; slog.Default() when nil
}

// Embedded starts containerd inside this process and adopts the shims that an
// earlier engine left on the same directories. The caller holds the lock of the
// data directory (Lock): two engines on one directory would wait for each other
// without a word. ctx bounds nothing after the start; Close ends the engine.
//
// Several engines may run in a process, on different directories or one after
// the other. Only the log of containerd is shared: it goes where the engine
// started last sends it.
func Embedded(ctx context.Context, cfg Config) (_ *Engine, err error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	if cfg.Namespace == "" {
		cfg.Namespace = DefaultNamespace
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	demote := RouteLogs(cfg.Log)
	socketDir := SocketDir(cfg.State)
	// In this order: the second is above the last, and the root of a user namespace must
	// be able to enter it.
	if err := errors.Join(os.MkdirAll(cfg.Root, 0o700), os.MkdirAll(cfg.State, 0o711), os.Chmod(cfg.State, 0o711), os.MkdirAll(socketDir, 0o700)); err != nil {
		return nil, fmt.Errorf("create engine directory: %w", err)
	}
	tasks := filepath.Join(cfg.State, taskPlugin)
	half := strays{address: cfg.apiAddress(), tasks: tasks, socketDir: socketDir, work: filepath.Join(cfg.Root, taskPlugin)}
	if err := half.end(ctx); err != nil {
		return nil, err
	}
	// Must be read before the shims are loaded: loading removes the bundles of
	// shims that are gone.
	exits := readExits(tasks, cfg.Namespace)

	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	ctx = ctdlog.WithLogger(ctx, ctdlog.L)
	set := &pluginSet{cfg: cfg, socketDir: socketDir, keeper: new(exitKeeper)}
	events, err := serveEvents(cfg.ttrpcAddress())
	if err != nil {
		cancel()
		return nil, err
	}
	stop := func() error {
		demote()
		cancel()
		return errors.Join(events.Close(), set.Close())
	}
	defer func() {
		if err != nil {
			_ = stop()
		}
	}()
	if err := set.init(ctx); err != nil {
		return nil, err
	}
	if err := events.serve(ctx, set.loaded.GetAll()); err != nil {
		return nil, err
	}
	ic := plugin.NewContext(ctx, set.loaded, nil)
	client, err := newClient(ic, set.batcher.db)
	if err != nil {
		return nil, fmt.Errorf("in-memory containerd client: %w", err)
	}
	shims, err := ic.GetByID(plugins.ShimPlugin, shimManagerID)
	if err != nil {
		return nil, fmt.Errorf("shim manager: %w", err)
	}
	half.drop(ctx, shims.(*runtimev2.ShimManager))
	bundles := filepath.Join(tasks, cfg.Namespace)
	return &Engine{
		client: client, namespace: cfg.Namespace, shims: shims.(*runtimev2.ShimManager), exits: exits, stop: stop,
		bundles: bundles, batcher: set.batcher, spares: newSpares(cfg, bundles, socketDir),
	}, nil
}

// newClient makes a client whose services are in this process. Container records
// are the database's own: containerd's service in front of them begins a
// transaction for each, also where a batch has one.
func newClient(ic *plugin.InitContext, db *metadata.DB) (*containerd.Client, error) {
	c, err := containerd.New("", containerd.WithInMemoryServices(ic))
	if err != nil {
		return nil, err
	}
	return containerd.New("", containerd.WithServices(
		containerd.WithContainerStore(metadata.NewContainerStore(db)),
		containerd.WithSnapshotters(map[string]snapshots.Snapshotter{overlayName: c.SnapshotService(overlayName)}),
		containerd.WithContentStore(c.ContentStore()),
		containerd.WithImageStore(c.ImageService()),
		containerd.WithTaskClient(c.TaskService()),
		containerd.WithDiffService(c.DiffService()),
		containerd.WithEventService(c.EventService()),
		containerd.WithNamespaceService(c.NamespaceService()),
		containerd.WithLeasesService(c.LeasesService()),
		containerd.WithIntrospectionService(c.IntrospectionService()),
		containerd.WithSandboxStore(c.SandboxStore()),
		containerd.WithTransferService(c.TransferService()),
		containerd.WithMountManager(c.MountManager()),
	))
}

func (c Config) check() error {
	for name, path := range map[string]string{"root": c.Root, "state": c.State} {
		if !filepath.IsAbs(path) {
			return fmt.Errorf("engine: %s directory %q is not an absolute path", name, path)
		}
	}
	if c.Root == c.State {
		return fmt.Errorf("engine: root and state directory are both %s", c.Root)
	}
	if n := len(c.ttrpcAddress()); n > maxSocketPath {
		return fmt.Errorf("engine: state directory %s is too long: its socket's path has %d characters, the kernel allows %d; choose a shorter run directory",
			c.State, n, maxSocketPath)
	}
	if c.Namespace != "" && strings.ContainsAny(c.Namespace, "/.") {
		return fmt.Errorf("engine: containerd namespace %q contains a slash or a dot", c.Namespace)
	}
	return nil
}

// ttrpcAddress is the socket to which shims send their events. Together with
// apiAddress it seeds the names of the shims' own sockets: it depends on the
// state directory alone.
func (c Config) ttrpcAddress() string { return filepath.Join(c.State, "ttrpc.sock") }

// apiAddress stands for containerd's API socket, which an embedded engine does
// not have; shims take it as the name of their containerd.
func (c Config) apiAddress() string { return filepath.Join(c.State, "api.sock") }

// pluginSet is the containerd of one engine: the plugins named in plugins.go,
// initialised in the order of their dependencies.
type pluginSet struct {
	cfg       Config
	socketDir string
	keeper    *exitKeeper
	batcher   *batcher // set once the collector is initialised
	loaded    *plugin.Set
}

// shimLoadTime is how long a shim that was found may take to answer: it answers
// after what an earlier engine had asked for. Containerd gives up what does not
// answer, running containers included, after five seconds.
const shimLoadTime = time.Minute

// init starts the plugins. Every one of them is needed, so the first that fails
// ends the start. The registrations are containerd's own; some of them get their
// values, or a stand-in, from the engine here and not from a configuration file.
func (s *pluginSet) init(ctx context.Context) error {
	ctx = namespaces.WithNamespace(ctx, s.cfg.Namespace)
	s.loaded = plugin.NewPluginSet()
	timeout.Set("io.containerd.timeout.shim.load", shimLoadTime)
	var ready sync.WaitGroup
	s.keeper.loading.Store(true)
	defer s.keeper.loading.Store(false)
	for _, r := range registry.Graph(func(r *plugin.Registration) bool { return !wanted(r.URI()) }) {
		switch r.URI() {
		case shimManager:
			r.Config, r.InitFn = nil, s.newShimManager
		case overlaySnapshotter:
			r.Config, r.InitFn = nil, newSnapshotter
		case gcScheduler:
			r.Config, r.InitFn = nil, s.newCollector
		}
		id := r.URI()
		visible := s.loaded
		if id == taskPlugin {
			visible = without(s.loaded, mountManager)
		}
		ic := plugin.NewContext(ctx, visible, map[string]string{
			plugins.PropertyRootDir:      filepath.Join(s.cfg.Root, id),
			plugins.PropertyStateDir:     filepath.Join(s.cfg.State, id),
			plugins.PropertyGRPCAddress:  s.cfg.apiAddress(),
			plugins.PropertyTTRPCAddress: s.cfg.ttrpcAddress(),
		})
		ic.Config = r.Config
		ic.RegisterReadiness = func() func() { ready.Add(1); return ready.Done }
		p := r.Init(ic)
		if err := s.loaded.Add(p); err != nil {
			return fmt.Errorf("containerd plugin %s: %w", id, err)
		}
		if err := p.Err(); err != nil && !plugin.IsSkipPlugin(err) {
			return explain(id, err)
		}
	}
	ready.Wait()
	return nil
}

// without is a set of plugins less one.
func without(set *plugin.Set, uri string) *plugin.Set {
	rest := plugin.NewPluginSet()
	for _, p := range set.GetAll() {
		if p.Registration.URI() != uri {
			_ = rest.Add(p) // no name comes twice
		}
	}
	return rest
}

// explain says which plugin failed and, where that is known, what to do.
func explain(id string, err error) error {
	if id == overlaySnapshotter {
		return fmt.Errorf("containerd plugin %s: %w (the data directory must be on a file system that can carry overlayfs, such as ext4 or xfs)", id, err)
	}
	return fmt.Errorf("containerd plugin %s: %w", id, err)
}

// Close ends the plugins, last one first. Shims are not touched.
func (s *pluginSet) Close() error {
	if s.loaded == nil {
		return nil
	}
	var errs []error
	for _, p := range slices.Backward(s.loaded.GetAll()) {
		instance, err := p.Instance()
		if err != nil {
			continue
		}
		if c, ok := instance.(io.Closer); ok {
			if err := c.Close(); err != nil {
				errs = append(errs, fmt.Errorf("close containerd plugin %s: %w", p.Registration.URI(), err))
			}
		}
	}
	return errors.Join(errs...)
}
