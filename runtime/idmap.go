// SPDX-License-Identifier: Apache-2.0

package runtime

import (
	"context"
	"fmt"
	"slices"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// remapIDs is what a snapshotter can do that shows the layers of an image with other owners.
const remapIDs = "remap-ids"

// mappingOf gives the IDs of the container's user namespace; false in the host's.
func mappingOf(s *specs.Spec) (ids specs.LinuxIDMapping, mapped bool) {
	if s.Linux == nil || len(s.Linux.UIDMappings) == 0 {
		return ids, false
	}
	return s.Linux.UIDMappings[0], true
}

// mapRoot adds the labels by which the files of a snapshot belong to the IDs of a user namespace. The layers below stay as they are,
// so that all containers of the image share them.
func (r *Runtime) mapRoot(ctx context.Context, labels map[string]string, ids specs.LinuxIDMapping) error {
	can, err := r.client.GetSnapshotterCapabilities(ctx, r.cfg.Snapshotter)
	if err != nil {
		return fmt.Errorf("capabilities of snapshotter %s: %w", r.cfg.Snapshotter, err)
	}
	if !slices.Contains(can, remapIDs) {
		return fmt.Errorf("snapshotter %q doesn't support idmap mounts on this host, which hostUsers: false needs: use Linux 5.19 or later, with the images on a file system that supports them (ext4, xfs, btrfs)", r.cfg.Snapshotter)
	}
	mapping := fmt.Sprintf("%d:%d:%d", ids.ContainerID, ids.HostID, ids.Size)
	labels[snapshots.LabelSnapshotUIDMapping], labels[snapshots.LabelSnapshotGIDMapping] = mapping, mapping
	return nil
}
