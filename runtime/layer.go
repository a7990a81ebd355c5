// SPDX-License-Identifier: Apache-2.0

package runtime

import (
	"context"
	"fmt"
)

// LayerUsage tells how many bytes and inodes the files take that a container has written to its root file system. It walks them. A
// container without a snapshot of its own is an error.
func (r *Runtime) LayerUsage(ctx context.Context, id string) (bytes, inodes int64, err error) {
	usage, err := r.client.SnapshotService(r.cfg.Snapshotter).Usage(r.namespaced(ctx), id)
	if err != nil {
		return 0, 0, fmt.Errorf("writable layer of container %s: %w", id, err)
	}
	return usage.Size, usage.Inodes, nil
}
