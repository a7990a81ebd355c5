// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/core/snapshots/storage"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/plugins"
	"github.com/containerd/containerd/v2/plugins/snapshots/overlay"
	"github.com/containerd/containerd/v2/plugins/snapshots/overlay/overlayutils"
	"github.com/containerd/errdefs"
	ctdlog "github.com/containerd/log"
	"github.com/containerd/plugin"
	"golang.org/x/sys/unix"
)

// snapshotter is containerd's overlay snapshotter with a cheaper end of
// snapshots. The garbage collector removes them one by one, a transaction each,
// and has the directories looked for in one more: here, Remove is but a note, and
// Cleanup removes all that are noted in one transaction. Directories are deleted
// later still, by empty, when nobody waits.
type snapshotter struct {
	snapshots.Snapshotter
	store *storage.MetaStore
	dir   string // of the snapshots' directories

	mu      sync.Mutex
	removed []string // keys
	trash   []string // directories
}

// newSnapshotter stands in for the plugin's own function.
func newSnapshotter(ic *plugin.InitContext) (any, error) {
	root := ic.Properties[plugins.PropertyRootDir]
	ic.Meta.Exports[plugins.SnapshotterRootDir] = root
	if err := os.MkdirAll(root, 0o700); err != nil {
		return nil, err
	}
	store, err := storage.NewMetaStore(filepath.Join(root, "metadata.db"))
	if err != nil {
		return nil, err
	}
	opts := []overlay.Opt{overlay.AsynchronousRemove, overlay.WithMetaStore(store)}
	if ok, err := overlayutils.SupportsIDMappedMounts(); err == nil && ok {
		opts = append(opts, overlay.WithRemapIDs)
		ic.Meta.Capabilities = append(ic.Meta.Capabilities, "remap-ids")
	}
	ic.Meta.Capabilities = append(ic.Meta.Capabilities, "only-remap-ids")
	inner, err := overlay.NewSnapshotter(root, opts...)
	if err != nil {
		return nil, err
	}
	return &snapshotter{Snapshotter: inner, store: store, dir: filepath.Join(root, "snapshots")}, nil
}

// Prepare makes a snapshot to write to, as the overlay snapshotter does.
func (s *snapshotter) Prepare(ctx context.Context, key, parent string, opts ...snapshots.Opt) ([]mount.Mount, error) {
	mounts, err := s.Snapshotter.Prepare(ctx, key, parent, opts...)
	if err == nil {
		noteMade(ctx, key)
	}
	return mounts, err
}

// View makes a snapshot to read, as the overlay snapshotter does.
func (s *snapshotter) View(ctx context.Context, key, parent string, opts ...snapshots.Opt) ([]mount.Mount, error) {
	mounts, err := s.Snapshotter.View(ctx, key, parent, opts...)
	if err == nil {
		noteMade(ctx, key)
	}
	return mounts, err
}

// Remove has the next Cleanup remove a snapshot.
func (s *snapshotter) Remove(_ context.Context, key string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.removed = append(s.removed, key)
	return nil
}

// discard removes snapshots of which containerd's metadata know nothing. Should
// that fail, the next engine finds them.
func (s *snapshotter) discard(ctx context.Context, keys []string) {
	for _, key := range keys {
		if err := s.Snapshotter.Remove(ctx, key); err != nil && !errdefs.IsNotFound(err) {
			ctdlog.G(ctx).WithError(err).WithField("key", key).Warn("remove a snapshot that was made in vain")
		}
	}
}

// Cleanup removes the snapshots that are to be removed, and takes directories
// without a snapshot out of the way.
func (s *snapshotter) Cleanup(ctx context.Context) error {
	s.mu.Lock()
	keys := s.removed
	s.removed = nil
	s.mu.Unlock()
	// Writable in any case: no snapshot is being made meanwhile.
	tctx, tx, err := s.store.TransactionContext(ctx, true)
	if err == nil {
		err = s.cleanup(tctx, tx, keys)
	}
	if err != nil {
		s.mu.Lock()
		s.removed = append(keys, s.removed...)
		s.mu.Unlock()
	}
	return err
}

func (s *snapshotter) cleanup(ctx context.Context, tx storage.Transactor, keys []string) error {
	committed := false
	defer func() {
		if !committed {
			_ = tx.Rollback()
		}
	}()
	gone := 0
	for _, key := range keys {
		_, _, err := storage.Remove(ctx, key)
		switch {
		case err == nil:
			gone++
		case errdefs.IsNotFound(err):
		case errdefs.IsFailedPrecondition(err): // something is based on it
			ctdlog.G(ctx).WithError(err).WithField("key", key).Warn("remove a snapshot")
		default:
			return fmt.Errorf("remove snapshot %s: %w", key, err)
		}
	}
	if err := s.setAside(ctx); err != nil {
		return err
	}
	if gone == 0 {
		return nil // a transaction that changes nothing is spared
	}
	committed = true
	return tx.Commit()
}

// trashed begins the names of directories that are only to be deleted: numbers
// are given again when the transaction that gave them has failed.
const trashed = "removed-"

// setAside renames the directories that belong to no snapshot.
func (s *snapshotter) setAside(ctx context.Context) error {
	known, err := storage.IDMap(ctx)
	if err != nil && !errdefs.IsNotFound(err) { // there never was any
		return fmt.Errorf("list snapshots: %w", err)
	}
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.trash = nil
	for _, e := range entries {
		path := filepath.Join(s.dir, e.Name())
		if _, ok := known[e.Name()]; ok {
			continue
		}
		if !strings.HasPrefix(e.Name(), trashed) {
			aside, err := os.MkdirTemp(s.dir, trashed)
			if err != nil {
				return err
			}
			if err := unix.Rename(path, aside); err != nil { // over the empty directory, which os.Rename refuses
				return fmt.Errorf("rename %s to %s: %w", path, aside, err)
			}
			path = aside
		}
		s.trash = append(s.trash, path)
	}
	return nil
}

// empty deletes the directories that were taken out of the way. It may take long.
func (s *snapshotter) empty(ctx context.Context) {
	s.mu.Lock()
	paths := s.trash
	s.trash = nil
	s.mu.Unlock()
	for _, path := range paths {
		if err := os.RemoveAll(path); err != nil {
			ctdlog.G(ctx).WithError(err).WithField("path", path).Warn("delete the directory of a snapshot")
		}
	}
}

// sweep finds snapshots that containerd's metadata, given by namespace, do not
// have: an engine was killed between one database and the other. Made again, they
// would be in the way. It is called while nobody else uses the snapshotter; what
// is found stays until Cleanup.
func (s *snapshotter) sweep(ctx context.Context, metadata snapshots.Snapshotter) error {
	var orphans []string
	err := s.Walk(ctx, func(ctx context.Context, info snapshots.Info) error {
		parts := strings.SplitN(info.Name, "/", 3) // namespace, number, key
		if len(parts) != 3 {
			return nil
		}
		_, err := metadata.Stat(namespaces.WithNamespace(ctx, parts[0]), parts[2])
		if errdefs.IsNotFound(err) {
			orphans = append(orphans, info.Name)
			return nil
		}
		return err
	})
	if err != nil && !errdefs.IsNotFound(err) { // there never was any
		return fmt.Errorf("look for snapshots on no record: %w", err)
	}
	for i := range orphans {
		_ = s.Remove(ctx, orphans[len(orphans)-1-i]) // never fails
	}
	return nil
}
