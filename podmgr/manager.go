// SPDX-License-Identifier: Apache-2.0

package podmgr

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	goruntime "runtime"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"github.com/minikubelet/minikubelet/cgroups"
	"github.com/minikubelet/minikubelet/network"
	"github.com/minikubelet/minikubelet/podmgr/plan"
	"github.com/minikubelet/minikubelet/podmgr/probe"
	"github.com/minikubelet/minikubelet/runtime"
	"github.com/minikubelet/minikubelet/runtime/image"
	"github.com/minikubelet/minikubelet/runtime/spec"
	"github.com/minikubelet/minikubelet/store"
	"github.com/minikubelet/minikubelet/volumes"
)

// Pods is the store's name of the resource that a manager serves.
const Pods = "pods"

// stopBound is how long a stopping manager waits for steps under way.
const stopBound = 10 * time.Second

// Config is what a manager composes. Everything in it is used, not owned: the
// caller closes it after Run has returned.
type Config struct {
	Store   *store.Store
	Runtime *runtime.Runtime
	Images  *image.Store
	Cgroups *cgroups.Tree
	Volumes *volumes.Manager
	Network *network.Network // nil: only Pods with hostNetwork can run

	// IDs has the users and groups of Pods with a user namespace.
	IDs *runtime.IDRanges
	// UserNamespaces tells why this machine has none for Pods.
	UserNamespaces func() error

	PodsDir  string // <data-dir>/pods
	NetnsDir string // <run-dir>/netns
	LogDir   string // container logs in the kubelet's layout
	// PauseRoot is the root of the pause processes, made by pause.Install.
	PauseRoot string

	LogMaxBytes int64
	LogMaxFiles int

	NodeName string
	// HostIPs are the node's addresses at the time of the call.
	HostIPs     func() []string
	Capacity    corev1.ResourceList // of the machine
	Allocatable corev1.ResourceList // what Pods may request in sum
	PodPidsMax  int64               // pids of one Pod, 0: no limit
	Pressure    Pressure
	Ended       Ended

	ResolvConf string // the host's; empty: /etc/resolv.conf
	Node       spec.Node
	Pull       PullFunc
	Tokens     Tokens // nil: volumes with tokens of ServiceAccounts cannot be set up
	// OnStatus and OnEvent, when set, hear of every change at once, before it is
	// stored. They must not block and must not change the Pod.
	OnStatus func(pod *corev1.Pod, status *corev1.PodStatus)
	OnEvent  func(pod *corev1.Pod, container string, event *corev1.Event)
	// OnStep and OnProbe, when set, hear of what was done, for measuring. They must
	// not block and must not call the manager.
	OnStep  func(Step)
	OnProbe func(Probed)
	Log     *slog.Logger
}

// PullFunc makes an image available, with the Pod's own credentials (nil: none) before
// the node's; progress is told in the agent's own way.
type PullFunc func(ctx context.Context, ref string, own image.Credentials) (image.Image, error)

// Manager runs the Pods of one node.
type Manager struct {
	cfg    Config
	facts  NodeFacts
	events *recorder
	// started is closed when Run serves the Pods that there were.
	started chan struct{}
	users   users
	// creates bounds how many containers are being made at the same time.
	creates *gate
	prober  *prober
	hooks   *probe.Hooks

	mu      sync.Mutex
	workers map[types.UID]*worker
	placed  admitted
	// ends has the Pods that the node ends, and closing says that it takes no new ones.
	ends    map[types.UID]*plan.End
	closing bool
	// someEnded tells collectEnded that a Pod has.
	someEnded chan struct{}
	// conditions of pressure that the node has, once it was looked at.
	conditions []corev1.NodeConditionType
	looked     bool
	// nextStorage is when what Pods have on disk may be counted again; only
	// watchPressure touches it.
	nextStorage time.Time
	// burstable has the CPU requests, in thousandths, of the placed Pods of that class.
	burstable map[types.UID]int64
	wg        sync.WaitGroup
}

// New makes a manager. Run starts it.
func New(cfg Config) *Manager {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	m := &Manager{
		cfg: cfg, facts: cfg.facts(), events: newRecorder(cfg.Store, cfg.NodeName, cfg.Log),
		workers: make(map[types.UID]*worker), placed: make(admitted), ends: make(map[types.UID]*plan.End),
		started: make(chan struct{}), creates: newGate(max(2, goruntime.GOMAXPROCS(0))+1, createPatience), burstable: make(map[types.UID]int64),
		someEnded: make(chan struct{}, 1),
	}
	m.hooks = probe.NewHooks()
	probes := probe.New()
	m.prober = newProber(probes.Run, m.Changed)
	m.prober.quick = probes.Quick
	return m
}

func (c *Config) facts() NodeFacts {
	options := c.Cgroups.Options()
	options.PidsLimit = c.PodPidsMax
	return NodeFacts{
		NodeName: c.NodeName, HostIPs: c.HostIPs, Capacity: c.Capacity, Allocatable: c.Allocatable,
		PodsDir: c.PodsDir, NetnsDir: c.NetnsDir, LogDir: c.LogDir, ResolvConf: c.ResolvConf, PauseRoot: c.PauseRoot,
		CgroupRoot: c.Cgroups.Root(), CgroupOptions: options, Node: c.Node,
	}
}

// Changed tells the manager that something happened to a Pod's containers. The
// runtime calls it; it never blocks.
func (m *Manager) Changed(uid string) {
	m.mu.Lock()
	w := m.workers[types.UID(uid)]
	m.mu.Unlock()
	if w != nil {
		w.wakeUp()
	}
}

// HostIPsChanged tells the manager that the node has other addresses. It never blocks.
func (m *Manager) HostIPsChanged() { m.eachWorker((*worker).wakeUp) }

// Started is closed once Run has removed what an earlier agent left and nobody owns,
// and serves the Pods that the store had.
func (m *Manager) Started() <-chan struct{} { return m.started }

// Serving is how many Pods Run serves: those that have the node and have not ended for
// good, whether their objects are kept by finalizers or not.
func (m *Manager) Serving() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.workers)
}

// Run adopts what is there, removes what nobody owns, and serves the store's
// Pods until ctx ends. Running containers are left alone then; steps under way
// are given a bounded time to finish. It returns nil when ctx ended. It may be
// called once.
func (m *Manager) Run(ctx context.Context) error {
	before := m.cfg.Store.Revision()
	pods, revision, err := m.list()
	if err != nil {
		return fmt.Errorf("list Pods: %w", err)
	}
	if err := m.sweep(ctx, pods); err != nil {
		m.cfg.Log.Warn("start-up sweep is incomplete; it is tried again at the next start", "err", err)
	}
	if err := m.loadEndings(pods); err != nil {
		return fmt.Errorf("read the ends of Pods: %w", err)
	}
	stopEvents := m.events.start()
	defer stopEvents()
	m.wg.Go(func() { m.prober.serve(ctx) })
	m.wg.Go(func() { m.watchPressure(ctx) })
	m.wg.Go(func() { m.collectEnded(ctx) })
	for _, resource := range []string{ConfigMaps, Secrets, TrustBundles, Claims} {
		m.wg.Go(func() { m.watchObjects(ctx, resource, before) })
	}
	m.update(ctx, m.inOrder(pods)...)
	close(m.started)
	err = m.watch(ctx, revision)
	m.wait()
	if ctx.Err() != nil {
		return nil
	}
	return err
}

func (m *Manager) list() (map[types.UID]*corev1.Pod, uint64, error) {
	pods := make(map[types.UID]*corev1.Pod)
	revision, err := m.cfg.Store.List(Pods, "", func(data store.Data) error {
		pod := new(corev1.Pod)
		if err := data.Into(pod); err != nil {
			return err
		}
		if pod.Spec.NodeName != "" { // others wait for the scheduler
			pods[pod.UID] = pod
		}
		return nil
	})
	return pods, revision, err
}

// inOrder puts those first that have their place on the node already, so that no new one
// takes it, and of the others those that came first.
func (m *Manager) inOrder(pods map[types.UID]*corev1.Pod) []*corev1.Pod {
	place := func(pod *corev1.Pod) int {
		if m.wasStarted(pod) {
			return 0
		}
		return 1
	}
	return slices.SortedFunc(maps.Values(pods), func(a, b *corev1.Pod) int {
		return cmp.Or(place(a)-place(b), a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(revision(a), revision(b)))
	})
}

// watch hands changes of the store to the workers; when it falls behind it lists
// again.
func (m *Manager) watch(ctx context.Context, revision uint64) error {
	w := m.cfg.Store.Watch(Pods, revision)
	defer func() { w.Close() }()
	for {
		e, err := w.Next(ctx)
		switch {
		case errors.Is(err, store.ErrTooOld):
			pods, revision, err := m.list()
			if err != nil {
				return err
			}
			w.Close()
			w = m.cfg.Store.Watch(Pods, revision)
			m.update(ctx, m.inOrder(pods)...)
		case err != nil:
			return err
		case e.Type != store.Deleted:
			m.update(ctx, e.Object.(*corev1.Pod))
		}
	}
}

// update gives Pods to their workers. Resizes wait until all of them have their places.
func (m *Manager) update(ctx context.Context, pods ...*corev1.Pod) {
	m.mu.Lock()
	defer m.mu.Unlock()
	resizes := false
	for _, pod := range pods {
		if pod.Spec.NodeName == "" {
			continue
		}
		w := m.workers[pod.UID]
		if w != nil {
			w.setPod(pod)
		} else {
			w = m.serve(ctx, pod)
		}
		resizes = resizes || w != nil && w.wantsResize()
		m.noteEnd(pod)
	}
	if resizes {
		m.allocateResizes()
	}
}

// serve makes a worker for a Pod and lets it run; nil when the Pod is gone. m.mu is held.
func (m *Manager) serve(ctx context.Context, pod *corev1.Pod) *worker {
	// What is told may be older than the end of the Pod's last worker, and the Pod be gone
	// by now, or be a new one with the same UID, as Pods of manifests have it.
	now := new(corev1.Pod)
	switch err := m.cfg.Store.Get(Pods, pod.Namespace, pod.Name, now); {
	case apierrors.IsNotFound(err) || err == nil && now.UID != pod.UID:
		return nil
	case err == nil:
		pod = now
	}
	w := newWorker(m, pod)
	w.ended = m.ends[pod.UID]
	m.workers[pod.UID] = w
	missing := m.admit(w) // here, so that who comes first is asked first
	m.wg.Go(func() {
		w.run(ctx, missing)
		m.mu.Lock()
		delete(m.workers, pod.UID)
		m.mu.Unlock()
		m.returned(ctx, pod)
	})
	return w
}

// returned looks whether a Pod came back while its worker was ending: a manifest
// that is removed and put back gives the same UID.
func (m *Manager) returned(ctx context.Context, pod *corev1.Pod) {
	var now corev1.Pod
	if ctx.Err() != nil || m.cfg.Store.Get(Pods, pod.Namespace, pod.Name, &now) != nil || now.UID != pod.UID {
		return
	}
	if now.DeletionTimestamp == nil || len(now.Finalizers) == 0 { // else it waits for its finalizers
		m.update(ctx, &now)
	}
}

// wait lets the workers end their steps under way.
func (m *Manager) wait() {
	done := make(chan struct{})
	go func() { m.wg.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(stopBound + time.Second):
		m.cfg.Log.Warn("some steps did not end in time; the next agent finishes them", "waited", stopBound)
	}
}
