// SPDX-License-Identifier: Apache-2.0

package runtime

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// kindVolume marks the snapshot of an image that a Pod has as a volume; its label of
// the Pod's UID says whose it is.
const kindVolume = "volume"

func volumeKey(uid, volume string) string { return "volume-" + uid + "-" + volume }

// MountImage mounts an image's file system, or an artifact's files, read-only at target,
// for a Pod's volume; snapshot is the key of what its layers are unpacked to. Whoever
// unmounts it calls ReleaseImages afterwards; until then the layers stay. Nothing is
// mounted at target before. When the snapshot is not there the error has ErrImage. With
// IDs (Size > 0) its files belong to the user namespace that has them.
func (r *Runtime) MountImage(ctx context.Context, uid, volume, snapshot, target string, ids specs.LinuxIDMapping) error {
	ctx = r.namespaced(ctx)
	labels := map[string]string{LabelKind: kindVolume, LabelPodUID: uid, labelRoot: time.Now().UTC().Format(time.RFC3339)}
	if ids.Size > 0 {
		if err := r.mapRoot(ctx, labels, ids); err != nil {
			return err
		}
	}
	service, key := r.client.SnapshotService(r.cfg.Snapshotter), volumeKey(uid, volume)
	var mounts []mount.Mount
	err := r.write(ctx, func(ctx context.Context) (err error) {
		// One that is there is of an earlier boot, and perhaps of an older image.
		if err := service.Remove(ctx, key); !gone(err) {
			return err
		}
		mounts, err = service.View(ctx, key, snapshot, snapshots.WithLabels(labels))
		return err
	})
	if errdefs.IsNotFound(err) {
		err = fmt.Errorf("%w: %w", ErrImage, err)
	}
	if err != nil {
		return fmt.Errorf("view of snapshot %s: %w", snapshot, err)
	}
	if err := mountView(mounts, target, labels); err != nil {
		return fmt.Errorf("mount snapshot %s at %s: %w", snapshot, target, err)
	}
	return nil
}

// mountView mounts a view. That of a single layer is a bind mount, whose owners
// containerd leaves as they are, whatever its options say.
func mountView(mounts []mount.Mount, target string, labels map[string]string) error {
	uids, mapped := labels[snapshots.LabelSnapshotUIDMapping]
	if !mapped || len(mounts) != 1 || mounts[0].Type != "bind" {
		return mount.All(mounts, target)
	}
	users, err := mount.GetUsernsFD(uids, labels[snapshots.LabelSnapshotGIDMapping])
	if err != nil {
		return err
	}
	defer users.Close()
	return mount.IDMapMountWithAttrs(mounts[0].Source, target, int(users.Fd()), unix.MOUNT_ATTR_RDONLY, 0)
}

// ReleaseImages gives up the images that a Pod had as volumes, after they were
// unmounted. It may be called without any, and again.
func (r *Runtime) ReleaseImages(ctx context.Context, uid string) error {
	ctx = r.namespaced(ctx)
	service := r.client.SnapshotService(r.cfg.Snapshotter)
	var keys []string
	err := service.Walk(ctx, func(_ context.Context, info snapshots.Info) error {
		keys = append(keys, info.Name)
		return nil
	}, fmt.Sprintf("labels.%q==%q,labels.%q==%q", LabelKind, kindVolume, LabelPodUID, uid))
	if !gone(err) {
		return fmt.Errorf("list the image volumes of Pod %s: %w", uid, err)
	}
	var errs []error
	for _, key := range keys {
		if err := service.Remove(ctx, key); !gone(err) {
			errs = append(errs, fmt.Errorf("image volume %s: %w", key, err))
		}
	}
	return errors.Join(errs...)
}
