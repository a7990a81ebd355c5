// SPDX-License-Identifier: Apache-2.0

package runtime

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"golang.org/x/sync/singleflight"
)

// Config says which containerd to use, and how.
type Config struct {
	Client *containerd.Client
	// Namespace is the containerd namespace. Everything in it with our labels is ours.
	Namespace string
	// Snapshotter defaults to "overlayfs".
	Snapshotter string
	// Shim is the runtime's name ("io.containerd.minikubelet.v1", looked up on PATH) or the absolute path of the shim's executable.
	Shim string
	// Runc is the OCI runtime's executable: a path, or a name that the shim looks up on PATH; empty means "runc".
	Runc string
	// RuncRoot is the directory of the OCI runtime's own state; it must be on a tmpfs that does not survive a reboot.
	RuncRoot string
	// ExecDir holds the FIFOs of Exec; its path must be short, and it is made when needed. Empty means a temporary directory.
	ExecDir string
	// AttachDir holds the sockets of the shims for Attach; its path must be short, and it must exist. Empty means that nobody can attach.
	AttachDir string
	// OOMKills gives the number of OOM kills in a container's cgroup so far; nil means never. It is called when a container ended,
	// while its cgroup still exists, and must not block.
	OOMKills func(cgroupsPath string) (uint64, error)
	// OnChange is called when a container of the Pod ended or got lost, after Pod shows the change. It may be called from any
	// goroutine, also from within Start and Create, but not for what Open finds, and must not block.
	OnChange func(podUID string)
	// ShimReady returns true as soon as containers can join the sandbox, though the sandbox's own Create may still be under way, and
	// false when ctx ended first. Nil means that containers wait for the sandbox's Create. It asks for a shim that ignores Shutdown while
	// it creates a task: containerd's own ends when a container is refused before the sandbox's task exists.
	ShimReady func(ctx context.Context, sandboxID string) bool
	// NewShim gives a shim for a sandbox that is about to be created. Nil means that containerd starts the shims.
	NewShim func(ctx context.Context) (address string, version uint32, err error)
	// KeepsExits says that this containerd, when it starts, keeps the tasks that ended while it was down. Where it is false, as with
	// any containerd that is not embedded, the runtime sees to that with a sandbox record for each container.
	KeepsExits bool
	// RecordedExit gives the exit of a container that has no task any more, if the shim left one behind; nil means never.
	RecordedExit func(id string) (code uint32, at time.Time, ok bool)
	// NeverStarted tells of a container that has ended whether it is certain that its start was never asked for: it was killed while
	// it waited. Nil means that nothing is certain.
	NeverStarted func(id string) bool
	// Batch runs fn such that all that it writes to containerd's metadata with the given context is one transaction: on disk when it
	// returns, or not at all. It may call fn twice. Nil means a transaction for each write.
	Batch func(ctx context.Context, fn func(ctx context.Context) error) error
	// Logger defaults to slog.Default().
	Logger *slog.Logger
}

// Runtime makes, starts, watches and removes containers. All methods may be called concurrently; operations on one container run one
// after another.
type Runtime struct {
	cfg    Config
	client *containerd.Client
	log    *slog.Logger

	// ctx ends with Close and carries the namespace; background work runs under it.
	ctx    context.Context
	cancel context.CancelFunc
	work   sync.WaitGroup

	unpacks singleflight.Group
	later   later
	// onChange is Config.OnChange once Open has looked at everything.
	onChange func(podUID string)

	mu      sync.Mutex
	entries map[string]*entry
	pods    map[string]map[string]*entry
	// arrived is closed and replaced when an entry is added: Create of a container waits so for its sandbox.
	arrived chan struct{}
}

// entry is the runtime's copy of what it knows of one container.
type entry struct {
	// op is the right to operate on the container: held by whoever has put a value in.
	op chan struct{}

	// status, refused, recorded and removed are guarded by Runtime.mu.
	status Status
	// refused is the OCI runtime's answer to Create, to be reported by Start.
	refused error
	// recorded says that the container's end is on its record.
	recorded bool
	// removed says that nothing of the container is left.
	removed bool

	// created is closed when Create has ended, well or not.
	created chan struct{}
	// ended is closed when the container's end is seen.
	ended chan struct{}
	// hurry is closed by the first Remove: what is postponed then happens at once.
	hurry     chan struct{}
	hurryOnce sync.Once
}

func newEntry(s Status) *entry {
	return &entry{status: s, op: make(chan struct{}, 1), created: make(chan struct{}), ended: make(chan struct{}), hurry: make(chan struct{})}
}

// lock takes the right to operate on the container.
func (e *entry) lock(ctx context.Context) error {
	select {
	case e.op <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (e *entry) unlock() { <-e.op }

func (e *entry) hasten() { e.hurryOnce.Do(func() { close(e.hurry) }) }

// Open looks at what exists, and follows it from then on. It removes snapshots of ours that no container record uses.
// The context bounds the opening only.
func Open(ctx context.Context, cfg Config) (*Runtime, error) {
	if cfg.Client == nil || cfg.Namespace == "" || cfg.Shim == "" {
		return nil, errors.New("runtime: Client, Namespace and Shim must be set")
	}
	if cfg.Snapshotter == "" {
		cfg.Snapshotter = "overlayfs"
	}
	if cfg.OOMKills == nil {
		cfg.OOMKills = func(string) (uint64, error) { return 0, nil }
	}
	if cfg.OnChange == nil {
		cfg.OnChange = func(string) {}
	}
	if cfg.RecordedExit == nil {
		cfg.RecordedExit = func(string) (uint32, time.Time, bool) { return 0, time.Time{}, false }
	}
	if cfg.NeverStarted == nil {
		cfg.NeverStarted = func(string) bool { return false }
	}
	if cfg.Batch == nil {
		cfg.Batch = func(ctx context.Context, fn func(context.Context) error) error { return fn(ctx) }
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	r := &Runtime{
		cfg: cfg, client: cfg.Client, log: cfg.Logger, onChange: func(string) {},
		entries: map[string]*entry{}, pods: map[string]map[string]*entry{}, arrived: make(chan struct{}),
	}
	r.ctx, r.cancel = context.WithCancel(namespaces.WithNamespace(context.Background(), cfg.Namespace))
	stream := r.subscribe()
	if cfg.ExecDir != "" {
		// What an agent that was killed left there: the FIFOs of processes whose clients are gone.
		if err := os.RemoveAll(cfg.ExecDir); err != nil {
			r.Close()
			return nil, fmt.Errorf("directory of Exec: %w", err)
		}
	}
	err := r.sweepViews(r.namespaced(ctx))
	if err == nil {
		err = r.adopt(r.namespaced(ctx))
	}
	if err == nil {
		err = r.sweepSandboxes(r.namespaced(ctx))
	}
	if err != nil {
		r.Close()
		return nil, err
	}
	r.onChange = cfg.OnChange
	r.work.Go(func() { r.watch(stream) })
	return r, nil
}

// Close stops following. Containers go on; what is to be recorded about them will be when the next Runtime opens. No other method may
// run at that time or be called afterwards, except Pod, List and Status.
func (r *Runtime) Close() {
	r.cancel()
	r.work.Wait()
}

// Pod gives the containers of a Pod, oldest first. It does no I/O.
func (r *Runtime) Pod(uid string) []Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	return sorted(r.pods[uid])
}

// List gives all containers with our labels, whoever owns them, oldest first. It does no I/O.
func (r *Runtime) List() []Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	return sorted(r.entries)
}

// Status gives one container, or ErrNotFound. It does no I/O.
func (r *Runtime) Status(id string) (Status, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e, ok := r.entries[id]
	if !ok {
		return Status{}, ErrNotFound
	}
	return e.status, nil
}

func sorted(entries map[string]*entry) []Status {
	list := make([]Status, 0, len(entries))
	for _, e := range entries {
		list = append(list, e.status)
	}
	slices.SortFunc(list, func(a, b Status) int {
		if c := a.CreatedAt.Compare(b.CreatedAt); c != 0 {
			return c
		}
		return strings.Compare(a.ID, b.ID)
	})
	return list
}

// namespaced gives the caller's context the namespace that containerd wants on every call.
func (r *Runtime) namespaced(ctx context.Context) context.Context {
	return namespaces.WithNamespace(ctx, r.cfg.Namespace)
}

func (r *Runtime) entry(id string) *entry {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.entries[id]
}

// add puts an entry in the cache, unless there is one for the ID already, which it then gives.
func (r *Runtime) add(e *entry) (existing *entry) {
	r.mu.Lock()
	defer r.mu.Unlock()
	id, uid := e.status.ID, e.status.Pod.UID
	if old, ok := r.entries[id]; ok {
		return old
	}
	r.entries[id] = e
	if r.pods[uid] == nil {
		r.pods[uid] = map[string]*entry{}
	}
	r.pods[uid][id] = e
	close(r.arrived)
	r.arrived = make(chan struct{})
	return nil
}

// drop takes an entry out of the cache, because nothing is left of the container.
func (r *Runtime) drop(e *entry) {
	r.mu.Lock()
	defer r.mu.Unlock()
	id, uid := e.status.ID, e.status.Pod.UID
	if e.removed = true; r.entries[id] != e {
		return
	}
	delete(r.entries, id)
	delete(r.pods[uid], id)
	if len(r.pods[uid]) == 0 {
		delete(r.pods, uid)
	}
}

// read gives a copy of the entry's status.
func (r *Runtime) read(e *entry) Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	return e.status
}

// change runs fn on the entry's status and gives a copy of the result.
func (r *Runtime) change(e *entry, fn func(s *Status)) Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	fn(&e.status)
	return e.status
}
