// SPDX-License-Identifier: Apache-2.0

package image

import (
	"context"
	"fmt"
	"slices"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
)

// The labels by which containerd's CRI marks a container's owner.
const (
	labelPodNamespace = "io.kubernetes.pod.namespace"
	labelPodName      = "io.kubernetes.pod.name"
	labelContainer    = "io.kubernetes.container.name"
)

// Remove deletes a name, or with an ID or a digest all names of that content, and returns the names deleted, none when there
// were none. Content that nothing else needs is freed before it returns. When a container was made from one of the names it
// removes nothing and returns an *InUseError, unless force is set: the container keeps running then, on its own snapshot.
func (s *Store) Remove(ctx context.Context, ref string, force bool) ([]string, error) {
	ctx = s.within(ctx)
	found, err := s.find(ctx, ref)
	if err != nil {
		return nil, err
	}
	if _, isID := idOf(ref); !isID && len(found) > 1 {
		if name, err := Normalise(ref); err == nil && found[0].Name == name {
			found = found[:1]
		}
	}
	if !force {
		for _, record := range found {
			users, err := s.users(ctx, record.Name)
			if err != nil {
				return nil, err
			}
			if len(users) > 0 {
				return nil, &InUseError{Name: record.Name, Containers: users}
			}
		}
	}
	var removed []string
	for i, record := range found {
		var options []images.DeleteOpt
		if i == len(found)-1 {
			options = append(options, images.SynchronousDelete())
		}
		if err := s.records().Delete(ctx, record.Name, options...); err != nil && !errdefs.IsNotFound(err) {
			return removed, fmt.Errorf("remove image %s: %w", record.Name, err)
		}
		removed = append(removed, record.Name)
	}
	return removed, nil
}

// users names the containers that were made from an image's name.
func (s *Store) users(ctx context.Context, name string) ([]string, error) {
	all, err := s.client.ContainerService().List(ctx, fmt.Sprintf("image==%q", name))
	if err != nil {
		return nil, fmt.Errorf("list containers: %w", err)
	}
	var users []string
	for _, c := range all {
		id := c.ID
		if len(id) > 12 {
			id = id[:12] + "…"
		}
		if pod := c.Labels[labelPodName]; pod != "" {
			container := c.Labels[labelContainer]
			if container == "" {
				container = "sandbox"
			}
			users = append(users, fmt.Sprintf("%s/%s %s (%s)", c.Labels[labelPodNamespace], pod, container, id))
		} else {
			users = append(users, "container "+id)
		}
	}
	slices.Sort(users)
	return users, nil
}
