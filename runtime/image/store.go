// SPDX-License-Identifier: Apache-2.0

package image

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"time"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Config says where a Store keeps its images.
type Config struct {
	Client      *containerd.Client
	Namespace   string // containerd namespace; default "minikubelet"
	Snapshotter string // default "overlayfs"
	Limits      Limits
	Logger      *slog.Logger // default slog.Default()
}

// Store is the images of one containerd namespace. Its methods may be called at the same time from several goroutines, and by
// several processes on the same containerd.
type Store struct {
	client      *containerd.Client
	namespace   string
	snapshotter string
	limits      Limits
	log         *slog.Logger
	platform    platforms.MatchComparer
	details     *detailsCache
	pulls       keyedLock
}

// New returns the store. It does no I/O.
func New(c Config) (*Store, error) {
	if c.Client == nil {
		return nil, fmt.Errorf("image store: no containerd client")
	}
	if c.Namespace == "" {
		c.Namespace = "minikubelet"
	}
	if c.Snapshotter == "" {
		c.Snapshotter = "overlayfs"
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return &Store{
		client:      c.Client,
		namespace:   c.Namespace,
		snapshotter: c.Snapshotter,
		limits:      c.Limits.orDefault(),
		log:         c.Logger,
		platform:    platforms.Default(),
		details:     newDetailsCache(64),
	}, nil
}

// Snapshotter is the name of the snapshotter that holds the unpacked images.
func (s *Store) Snapshotter() string { return s.snapshotter }

func (s *Store) within(ctx context.Context) context.Context {
	return namespaces.WithNamespace(ctx, s.namespace)
}

func (s *Store) content() content.Store           { return s.client.ContentStore() }
func (s *Store) records() images.Store            { return s.client.ImageService() }
func (s *Store) snapshots() snapshots.Snapshotter { return s.client.SnapshotService(s.snapshotter) }

// leaseLabel marks the leases of a Store: others in the namespace are not ours to end.
const leaseLabel = "minikubelet/image"

// lease keeps what is being written from containerd's garbage collector until release or, after a crash, until DropAbandoned, at
// most for a day.
func (s *Store) lease(ctx context.Context) (context.Context, leases.Lease, func(), error) {
	l, err := s.client.LeasesService().Create(ctx, leases.WithRandomID(), leases.WithExpiration(24*time.Hour),
		leases.WithLabels(map[string]string{leaseLabel: "transfer"}))
	if err != nil {
		return ctx, l, nil, fmt.Errorf("create a lease: %w", err)
	}
	return leases.WithLease(ctx, l.ID), l, func() { s.release(ctx, l) }, nil
}

// release ends a lease even when ctx has ended.
func (s *Store) release(ctx context.Context, l leases.Lease, opts ...leases.DeleteOpt) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	if err := s.client.LeasesService().Delete(ctx, l, opts...); err != nil && !errdefs.IsNotFound(err) {
		s.log.Warn("a lease on image content stays until it expires", "lease", l.ID, "error", err)
	}
}

// DropAbandoned lets go of what a process that was killed had pulled or unpacked in part, and waits until it is removed. It must be
// called before this or any other process begins a pull or an import in the namespace: theirs would be lost as well.
func (s *Store) DropAbandoned(ctx context.Context) error {
	ctx = s.within(ctx)
	abandoned, err := s.client.LeasesService().List(ctx, fmt.Sprintf("labels.%q", leaseLabel))
	if err != nil {
		return fmt.Errorf("list leases: %w", err)
	}
	for i, l := range abandoned {
		var opts []leases.DeleteOpt
		if i == len(abandoned)-1 {
			opts = append(opts, leases.SynchronousDelete)
		}
		if err := s.client.LeasesService().Delete(ctx, l, opts...); err != nil && !errdefs.IsNotFound(err) {
			return fmt.Errorf("end the lease %s of an earlier process: %w", l.ID, err)
		}
	}
	return nil
}

// put creates the image's record or points it to new content. Labels on it are kept unless replaced.
func (s *Store) put(ctx context.Context, name string, target ocispec.Descriptor, labels map[string]string) (images.Image, error) {
	for {
		old, err := s.records().Get(ctx, name)
		if err == nil {
			merged := maps.Clone(old.Labels)
			if merged == nil {
				merged = map[string]string{}
			}
			maps.Copy(merged, labels)
			updated, err := s.records().Update(ctx, images.Image{Name: name, Target: target, Labels: merged}, "target", "labels")
			if errdefs.IsNotFound(err) {
				continue // removed meanwhile
			}
			return updated, err
		}
		if !errdefs.IsNotFound(err) {
			return images.Image{}, err
		}
		created, err := s.records().Create(ctx, images.Image{Name: name, Target: target, Labels: labels})
		if errdefs.IsAlreadyExists(err) {
			continue // created meanwhile
		}
		return created, err
	}
}

// keyedLock serialises work on one key. The zero value is ready.
type keyedLock struct {
	mu   sync.Mutex
	held map[string]chan struct{}
}

// lock waits for the key or for the end of ctx.
func (k *keyedLock) lock(ctx context.Context, key string) (unlock func(), err error) {
	for {
		k.mu.Lock()
		busy, ok := k.held[key]
		if !ok {
			if k.held == nil {
				k.held = map[string]chan struct{}{}
			}
			done := make(chan struct{})
			k.held[key] = done
			k.mu.Unlock()
			return func() {
				k.mu.Lock()
				delete(k.held, key)
				k.mu.Unlock()
				close(done)
			}, nil
		}
		k.mu.Unlock()
		select {
		case <-busy:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}
