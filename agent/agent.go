// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	containerd "github.com/containerd/containerd/v2/client"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/minikubelet/minikubelet/agent/stats"
	"github.com/minikubelet/minikubelet/apiserver/pki"
	"github.com/minikubelet/minikubelet/apiserver/token"
	"github.com/minikubelet/minikubelet/cgroups"
	"github.com/minikubelet/minikubelet/network"
	"github.com/minikubelet/minikubelet/podmgr"
	"github.com/minikubelet/minikubelet/podmgr/pressure"
	"github.com/minikubelet/minikubelet/runtime"
	"github.com/minikubelet/minikubelet/runtime/engine"
	"github.com/minikubelet/minikubelet/runtime/image"
	"github.com/minikubelet/minikubelet/runtime/pause"
	"github.com/minikubelet/minikubelet/runtime/spec"
	"github.com/minikubelet/minikubelet/store"
	"github.com/minikubelet/minikubelet/volumes"
)

// Hooks hear what happens, for progress on a terminal. Each may be nil; none may
// block.
type Hooks struct {
	OnStatus func(pod *corev1.Pod, status *corev1.PodStatus)
	OnEvent  func(pod *corev1.Pod, container string, event *corev1.Event)
	OnPull   func(ref string, p image.Progress)
}

// shimRuntime is the name by which containerd finds our shim on PATH.
const shimRuntime = "io.containerd.minikubelet.v1"

// Agent is an open node: its data directory is locked, its engine runs.
type Agent struct {
	cfg   Config
	log   *slog.Logger
	hooks Hooks

	paths   engine.Paths
	engine  *engine.Engine
	store   *store.Store
	images  *image.Store
	runtime *runtime.Runtime
	cgroups *cgroups.Tree
	network *network.Network
	volumes *volumes.Manager
	stats   *stats.Reader
	address *hostAddress
	// apiPort is where the API listens, 0 without.
	apiPort int32
	// mapsUsers is true once Pods are known to be able to have a user namespace.
	mapsUsers atomic.Bool
	// nodeChanged has one value when the node's images or address are others than its
	// object says, namesChanged when the address is another than its certificate has.
	nodeChanged, namesChanged chan struct{}
	manager                   atomic.Pointer[podmgr.Manager]
	closers                   []func() error
	// shutting is held while Pods end for the node's shutdown, shuttingDown is set from
	// its beginning on, and nodeObject guards the writing of the node's object.
	shutting     sync.Mutex
	shuttingDown atomic.Bool
	nodeObject   sync.Mutex
	pullAuth     image.Credentials
	tokens       *token.Authority
}

// Open takes the data directory and starts the engine; what it takes when it
// fails half-way it gives back. A data directory in use is an
// *engine.LockedError, which knows the holder.
func Open(ctx context.Context, cfg Config, hooks Hooks, log *slog.Logger) (_ *Agent, err error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	a := &Agent{
		cfg: cfg, log: log, hooks: hooks, address: newHostAddress(network.HostIP),
		nodeChanged: make(chan struct{}, 1), namesChanged: make(chan struct{}, 1),
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, a.Close())
		}
	}()
	for _, step := range []func(context.Context) error{
		a.openDirs, a.openEngine, a.openStore, a.openImages, a.openCgroups, a.openNetwork, a.openRuntime, a.openTokens, a.openManager,
	} {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	return a, nil
}

// Run serves the store's Pods until ctx ends. Running Pods go on running.
func (a *Agent) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var beside sync.WaitGroup
	beside.Go(func() { a.keepClaims(ctx) })
	beside.Go(func() { a.followAddress(ctx) })
	defer func() { cancel(); beside.Wait() }()
	return a.manager.Load().Run(ctx)
}

// Images is the node's image store.
func (a *Agent) Images() *image.Store { return a.images }

// Store is the node's objects.
func (a *Agent) Store() *store.Store { return a.store }

// Runtime is the node's containers.
func (a *Agent) Runtime() *runtime.Runtime { return a.runtime }

// Containerd is the client of the node's containerd, its own or another one. Calls
// need the configured namespace in their contexts.
func (a *Agent) Containerd() *containerd.Client { return a.engine.Client() }

// NodeName is the name under which the node runs Pods.
func (a *Agent) NodeName() string { return a.cfg.NodeName }

// ReadLog writes a container's log as kubectl logs would show it. The error is of the
// API's kind where the container has no log to show.
func (a *Agent) ReadLog(ctx context.Context, pod *corev1.Pod, o *corev1.PodLogOptions, w io.Writer) error {
	return logs{a}.ReadLog(ctx, pod, o, w)
}

// Close gives back what Open took, in reverse order. Containers go on running.
func (a *Agent) Close() error {
	var errs []error
	for i := len(a.closers) - 1; i >= 0; i-- {
		errs = append(errs, a.closers[i]())
	}
	a.closers = nil
	return errors.Join(errs...)
}

func (a *Agent) openDirs(context.Context) error {
	for _, dir := range []struct { // those above others first
		path string
		mode os.FileMode
	}{
		{a.cfg.DataDir, 0o711}, {a.cfg.RunDir, 0o711}, {a.cfg.LogDir, 0o755},
		{a.cfg.podsDir(), 0o711}, {a.cfg.volumesDir(), 0o711}, {a.cfg.imagesDir(), 0o700}, {a.cfg.attachDir(), 0o700},
		{a.cfg.seccompDir(), 0o755}, {a.cfg.netnsDir(), 0o711},
	} {
		if err := os.MkdirAll(dir.path, dir.mode); err != nil {
			return fmt.Errorf("make directory: %w", err)
		}
	}
	lock, err := engine.Lock(a.cfg.DataDir)
	if err != nil {
		return err
	}
	a.closers = append(a.closers, lock.Release)
	return nil
}

// openEngine finds runc and the shim first: the engine looks for the shims of an
// earlier agent at once.
func (a *Agent) openEngine(ctx context.Context) error {
	var err error
	if a.paths, err = engine.Binaries(a.cfg.DataDir); err != nil {
		return err
	}
	// containerd finds the shim by its name and starts it without asking it for its
	// capabilities first, which a path would cost for each container.
	if err := os.Setenv("PATH", filepath.Dir(a.paths.Shim)+":"+os.Getenv("PATH")); err != nil {
		return err
	}
	if err := engine.TempMounts(filepath.Join(a.cfg.RunDir, "mounts")); err != nil {
		return err
	}
	if a.cfg.ContainerdAddress != "" {
		a.engine, err = engine.Connect(ctx, a.cfg.ContainerdAddress, a.cfg.ContainerdNamespace, a.log)
	} else {
		a.engine, err = engine.Embedded(ctx, engine.Config{
			Shim: a.paths.Shim,
			Root: filepath.Join(a.cfg.DataDir, "containerd"), State: a.cfg.containerdState(),
			Namespace: a.cfg.ContainerdNamespace, Log: a.log,
		})
	}
	if err != nil {
		return err
	}
	a.closers = append(a.closers, a.engine.Close)
	if a.cfg.ContainerdAddress == "" { // an external containerd may need an old shim that only it knows of
		if err := engine.Prune(a.cfg.DataDir, a.cfg.containerdState(), a.paths); err != nil {
			a.log.Warn("executables of an earlier version are left", "err", err)
		}
	}
	return nil
}

func (a *Agent) openStore(context.Context) error {
	var err error
	if a.store, err = store.Open(a.cfg.statePath()); err != nil {
		return err
	}
	a.closers = append(a.closers, a.store.Close)
	return nil
}

func (a *Agent) openImages(ctx context.Context) error {
	var err error
	a.images, err = image.New(image.Config{Client: a.engine.Client(), Namespace: a.cfg.ContainerdNamespace, Logger: a.log})
	if err != nil {
		return err
	}
	if err := a.images.DropAbandoned(ctx); err != nil {
		return err
	}
	if a.cfg.RegistryAuth != "" {
		if a.pullAuth, err = image.LoadCredentials(a.cfg.RegistryAuth); err != nil {
			return err
		}
	}
	return nil
}

func (a *Agent) openCgroups(context.Context) error {
	var err error
	a.cgroups, err = cgroups.Open(cgroups.Config{Root: path.Join(a.cfg.CgroupRoot, a.cfg.name())})
	if err != nil {
		return err
	}
	for controller, consequence := range a.cgroups.Missing() {
		level := slog.LevelInfo
		if controller == "cpu" || controller == "memory" || controller == "pids" {
			level = slog.LevelWarn
		}
		a.log.Log(context.Background(), level, "a cgroup controller is missing", "controller", controller, "consequence", consequence)
	}
	return nil
}

// openNetwork degrades: without a network, Pods with hostNetwork still run.
func (a *Agent) openNetwork(ctx context.Context) error {
	cfg := network.Config{Name: a.cfg.instance(), Bridge: a.cfg.Bridge, Logger: a.log}
	if a.cfg.PodSubnet != "" {
		cfg.Subnet = netip.MustParsePrefix(a.cfg.PodSubnet)
	}
	n, err := network.Open(ctx, cfg)
	if err != nil {
		a.log.Warn("no Pod network; only Pods with hostNetwork: true can run", "err", err)
		return nil
	}
	a.network = n
	a.closers = append(a.closers, n.Close)
	for _, w := range n.Warnings() {
		a.log.Warn("the Pod network lacks something", "what", w.Name, "consequence", w.Consequence, "remedy", w.Remedy)
	}
	return nil
}

func (a *Agent) openRuntime(ctx context.Context) error {
	cfg := runtime.Config{
		Client: a.engine.Client(), Namespace: a.cfg.ContainerdNamespace,
		Shim: shimRuntime, Runc: a.paths.Runc, RuncRoot: filepath.Join(a.cfg.RunDir, "runc"), ExecDir: filepath.Join(a.cfg.RunDir, "exec"),
		AttachDir: a.cfg.attachDir(),
		OOMKills:  a.cgroups.ContainerOOMKills,
		OnChange: func(uid string) {
			if m := a.manager.Load(); m != nil { // before there is one, nobody has looked yet
				m.Changed(uid)
			}
		},
		Logger:     a.log,
		KeepsExits: a.engine.KeepsExits(), NeverStarted: a.engine.NeverStarted,
		RecordedExit: func(id string) (uint32, time.Time, bool) {
			exit, ok := a.engine.RecordedExit(id)
			return uint32(exit.Status), exit.At, ok
		},
	}
	if a.cfg.Runc != "" {
		cfg.Runc = a.cfg.Runc
	}
	if a.engine.KeepsExits() {
		cfg.Batch = a.engine.Batch
		cfg.NewShim = a.engine.NewShim
		cfg.ShimReady = func(ctx context.Context, id string) bool { return a.engine.WaitSandboxShim(ctx, id) == nil }
	}
	var err error
	if a.runtime, err = runtime.Open(ctx, cfg); err != nil {
		return err
	}
	a.closers = append(a.closers, func() error { a.runtime.Close(); return nil })
	return nil
}

// openTokens reads the key of the ServiceAccounts' tokens, or makes it.
func (a *Agent) openTokens(context.Context) error {
	if err := os.MkdirAll(a.cfg.pkiDir(), 0o700); err != nil {
		return fmt.Errorf("make directory: %w", err)
	}
	var err error
	a.tokens, err = token.Open(filepath.Join(a.cfg.pkiDir(), "serviceaccounts.pem"), pki.WriteFile, a.store)
	return err
}

func (a *Agent) openManager(context.Context) error {
	capacity, allocatable, err := a.cfg.nodeResources()
	if err != nil {
		return err
	}
	node, err := a.cfg.specNode()
	if err != nil {
		return err
	}
	if node.AppArmorDefault != "" {
		if err := spec.LoadAppArmorDefault(); err != nil {
			a.log.Warn("containers run without an AppArmor profile, unless they name one of their own; install apparmor_parser", "err", err)
			node.AppArmorDefault = ""
		}
	}
	if err := pause.Install(a.cfg.pauseRoot()); err != nil {
		return err
	}
	a.volumes = volumes.New(volumes.Config{AllowedHostPaths: a.cfg.AllowedHostPaths, OwnVolumes: a.cfg.volumesDir()})
	a.stats = a.newStats()
	nodePressure, err := a.pressure()
	if err != nil {
		return err
	}
	ids, err := a.cfg.idRanges()
	if err != nil {
		return err
	}
	logMax := quantity(a.cfg.LogMaxSize)
	a.manager.Store(podmgr.New(podmgr.Config{
		Store: a.store, Runtime: a.runtime, Images: a.images, Cgroups: a.cgroups, Network: a.network,
		Volumes: a.volumes, IDs: ids, UserNamespaces: a.userNamespaces,
		PodsDir: a.cfg.podsDir(), NetnsDir: a.cfg.netnsDir(), LogDir: a.cfg.LogDir, PauseRoot: a.cfg.pauseRoot(),
		LogMaxBytes: logMax.Value(), LogMaxFiles: a.cfg.LogMaxFiles,
		NodeName: a.cfg.NodeName, HostIPs: a.address.ips, Capacity: capacity, Allocatable: allocatable,
		Tokens: a.tokens, PodPidsMax: a.cfg.PodPidsLimit, Pressure: nodePressure, Ended: a.cfg.ended(), ResolvConf: network.DefaultResolvConf,
		Node: node, Pull: a.pull, OnStatus: a.told, OnEvent: a.hooks.OnEvent,
		OnStep: a.stats.OnStep, OnProbe: a.stats.OnProbe, Log: a.log,
	}))
	return nil
}

// nodeResources are what the machine has and what Pods may request of it: without what
// is reserved, and without what hard thresholds keep back, as the kubelet computes it
// (cm.GetNodeAllocatableReservation).
func (c *Config) nodeResources() (capacity, allocatable corev1.ResourceList, err error) {
	machine, err := cgroups.NodeCapacity()
	if err != nil {
		return nil, nil, err
	}
	memory := quantity(c.ReservedMemory)
	memory.Add(*resource.NewQuantity(pressure.Reserved(c.evictionConfig(), pressure.Memory, machine.MemoryBytes), resource.BinarySI))
	allocatable = machine.Allocatable(corev1.ResourceList{corev1.ResourceCPU: quantity(c.ReservedCPU), corev1.ResourceMemory: memory})
	allocatable[corev1.ResourcePods] = *resource.NewQuantity(int64(c.MaxPods), resource.DecimalSI)
	capacity = machine.ResourceList()
	if disk, ok := diskCapacity(c.DataDir); ok {
		left := disk.Value() - pressure.Reserved(c.evictionConfig(), pressure.NodeFS, disk.Value())
		capacity[corev1.ResourceEphemeralStorage], allocatable[corev1.ResourceEphemeralStorage] = disk, *resource.NewQuantity(max(left, 0), resource.BinarySI)
	}
	return capacity, allocatable, nil
}

func (a *Agent) pull(ctx context.Context, ref string, own image.Credentials) (image.Image, error) {
	o := image.PullOptions{Credentials: image.FirstOf(own, a.pullAuth), HostsDir: a.cfg.RegistryHosts}
	if a.hooks.OnPull != nil {
		o.Progress = func(p image.Progress) { a.hooks.OnPull(ref, p) }
	}
	return a.images.Pull(ctx, ref, o)
}
