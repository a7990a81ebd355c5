// SPDX-License-Identifier: Apache-2.0

package runtime

import (
	"context"
	"fmt"
	"maps"

	"github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/containerd/typeurl/v2"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// Update changes the resources of a running container: its OCI runtime writes the cgroup. What resources leaves out stays as it is. It
// is not on record: a caller that has to know it later says so with SetLabels.
func (r *Runtime) Update(ctx context.Context, id string, resources *specs.LinuxResources) error {
	ctx = r.namespaced(ctx)
	e := r.entry(id)
	if e == nil {
		return fmt.Errorf("update container %s: %w", id, ErrNotFound)
	}
	if s := r.read(e); s.State != StateRunning {
		return fmt.Errorf("update container %s, which is %s: %w", id, s.State, ErrState)
	}
	packed, err := typeurl.MarshalAny(resources)
	if err != nil {
		return fmt.Errorf("update container %s: %w", id, err)
	}
	_, err = r.client.TaskService().Update(ctx, &tasks.UpdateTaskRequest{ContainerID: id, Resources: typeurl.MarshalProto(packed)})
	if err = errgrpc.ToNative(err); err != nil {
		return fmt.Errorf("update container %s: %w", id, err)
	}
	return nil
}

// SetLabels sets labels of a container, on its record and in Status. Others stay as they are.
func (r *Runtime) SetLabels(ctx context.Context, id string, labels map[string]string) error {
	ctx = r.namespaced(ctx)
	e := r.entry(id)
	if e == nil {
		return fmt.Errorf("label container %s: %w", id, ErrNotFound)
	}
	var paths []string
	for name := range labels {
		paths = append(paths, "labels."+name)
	}
	if _, err := r.client.ContainerService().Update(ctx, containers.Container{ID: id, Labels: labels}, paths...); err != nil {
		return fmt.Errorf("label container %s: %w", id, err)
	}
	s := r.change(e, func(s *Status) {
		all := maps.Clone(s.Labels) // receivers of a Status share the old map
		if all == nil {
			all = map[string]string{}
		}
		maps.Copy(all, labels)
		s.Labels = all
	})
	r.onChange(s.Pod.UID)
	return nil
}
