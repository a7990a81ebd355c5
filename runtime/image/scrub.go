// SPDX-License-Identifier: Apache-2.0

package image

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/errdefs"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// scrub deletes the content of an image that is damaged or that the metadata knows but the disk does not, so that the next
// pull or import fetches it again: containerd takes what it has a record of as good. It reads every blob of the image, and so
// is called only after something was found to be wrong. It returns whether it deleted something.
func (s *Store) scrub(ctx context.Context, target ocispec.Descriptor) bool {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Minute)
	defer cancel()
	s.details.drop(target.Digest)
	dropped := false
	seen := map[string]bool{}
	var visit func(ocispec.Descriptor, int)
	visit = func(desc ocispec.Descriptor, depth int) {
		if seen[desc.Digest.String()] || depth > 6 {
			return
		}
		seen[desc.Digest.String()] = true
		if !s.intact(ctx, desc) {
			if err := s.content().Delete(ctx, desc.Digest); err == nil {
				dropped = true
				s.log.Warn("dropped damaged image content", "digest", desc.Digest, "type", desc.MediaType)
			}
			return
		}
		children, err := images.Children(ctx, boundedContent{s.content()}, desc)
		if err != nil {
			return
		}
		for _, child := range children {
			visit(child, depth+1)
		}
	}
	visit(target, 0)
	if dropped {
		s.collect(ctx)
	}
	return dropped
}

// ErrScrubbed is in the chain of an error after which trying again is worth it: damaged content stood in the way, and is gone.
var ErrScrubbed = errors.New("damaged content in the store was dropped, try again")

// intact is whether content is there with the bytes that its digest says. An error other than
// not found says nothing, and counts as intact.
func (s *Store) intact(ctx context.Context, desc ocispec.Descriptor) bool {
	r, err := s.content().ReaderAt(ctx, desc)
	if err != nil {
		return !errdefs.IsNotFound(err)
	}
	defer r.Close()
	verifier := desc.Digest.Verifier()
	if _, err := io.Copy(verifier, content.NewReader(r)); err != nil {
		return false
	}
	return verifier.Verified()
}

// collect runs containerd's garbage collector and waits for it.
func (s *Store) collect(ctx context.Context) {
	l, err := s.client.LeasesService().Create(ctx, leases.WithRandomID(), leases.WithExpiration(time.Minute))
	if err != nil {
		s.log.Warn("the content store's garbage is collected later", "error", err)
		return
	}
	s.release(ctx, l, leases.SynchronousDelete)
}
