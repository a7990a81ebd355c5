// SPDX-License-Identifier: Apache-2.0

package image

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/unpack"
	"github.com/containerd/platforms"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/semaphore"
)

// parallelLayers is how many layers are fetched at once: enough to fill a line, few enough for a small node's memory.
const parallelLayers = 3

// fetcher brings one descriptor's content into the store. Layers may be large.
type fetcher func(ctx context.Context, desc ocispec.Descriptor, layer bool) error

// unpack walks from target to the layers, marks in containerd's metadata what refers to what (so that the garbage collector
// keeps it), and unpacks the layers into snapshots. fetch, if given, is called for each descriptor before it is read; without
// it everything must be in the content store already. It returns when all is on disk. The caller holds a lease.
func (s *Store) unpack(ctx context.Context, target ocispec.Descriptor, fetch fetcher, seen *tracker) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	store := s.content()
	if fetch == nil {
		fetch = func(ctx context.Context, desc ocispec.Descriptor, _ bool) error { return s.blob(ctx, desc) }
	}
	desc, manifest, err := s.manifest(ctx, target, fetch)
	if err != nil {
		return err
	}
	if artifactType(manifest) != "" {
		return s.unpackArtifact(ctx, target, desc, manifest, fetch, seen)
	}
	handler := seen.watch(images.Handlers(images.HandlerFunc(func(ctx context.Context, desc ocispec.Descriptor) ([]ocispec.Descriptor, error) {
		return nil, fetch(ctx, desc, images.IsLayerType(desc.MediaType))
	}), s.children()))

	limiter := semaphore.NewWeighted(parallelLayers)
	unpacker, err := unpack.NewUnpacker(ctx, store,
		unpack.WithLimiter(limiter),
		unpack.WithUnpackPlatform(unpack.Platform{
			Platform:       platforms.All,
			SnapshotterKey: s.snapshotter,
			Snapshotter:    s.snapshots(),
			Applier:        &applier{content: store, limits: s.limits, applied: seen.unpackedLayer},
		}))
	if err != nil {
		return err
	}
	err = images.Dispatch(ctx, unpacker.Unpack(handler), nil, target)
	if err != nil {
		cancel()
		unpacker.Wait()
		return err
	}
	_, err = unpacker.Wait()
	return err
}

// children finds what a descriptor refers to and marks it. It narrows an index to the one manifest that suits this machine, and
// bounds what is read into memory.
func (s *Store) children() images.HandlerFunc {
	all := images.SetChildrenMappedLabels(s.content(), images.ChildrenHandler(boundedContent{s.content()}), nil)
	return func(ctx context.Context, desc ocispec.Descriptor) ([]ocispec.Descriptor, error) {
		children, err := all(ctx, desc)
		if err != nil || !images.IsIndexType(desc.MediaType) {
			return children, err
		}
		one, err := s.choose(children)
		if err != nil {
			return nil, err
		}
		return []ocispec.Descriptor{one}, nil
	}
}

// offered lists the platforms of an index for an error message.
func offered(manifests []ocispec.Descriptor) string {
	var all []string
	for _, m := range manifests {
		if m.Platform != nil && m.Platform.OS != "unknown" {
			all = append(all, platforms.Format(*m.Platform))
		}
	}
	if len(all) == 0 {
		return "the index names none"
	}
	slices.Sort(all)
	return fmt.Sprintf("it has %s; this is %s", strings.Join(slices.Compact(all), ", "), platforms.DefaultString())
}
