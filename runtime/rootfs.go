// SPDX-License-Identifier: Apache-2.0

package runtime

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/image-spec/identity"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// image is what a container needs to know of its image. The zero value stands for no image.
type image struct {
	id      string
	chainID string
	config  ocispec.ImageConfig
}

// image looks an image up by name and sees to it that its layers are unpacked.
func (r *Runtime) image(ctx context.Context, name string) (image, error) {
	if name == "" {
		return image{}, nil
	}
	img, err := r.client.GetImage(ctx, name)
	if err != nil {
		return image{}, fmt.Errorf("image %s: %w: %w", name, ErrImage, err)
	}
	desc, err := img.Config(ctx)
	if err != nil {
		return image{}, fmt.Errorf("image %s: config: %w: %w", name, ErrImage, err)
	}
	if !images.IsConfigType(desc.MediaType) {
		return image{}, fmt.Errorf("%s is an artifact (its configuration has the media type %q) and no image: it can be a volume, but no container: %w", name, desc.MediaType, ErrImage)
	}
	blob, err := content.ReadBlob(ctx, img.ContentStore(), desc)
	if err != nil {
		return image{}, fmt.Errorf("image %s: config: %w: %w", name, ErrImage, err)
	}
	var config ocispec.Image
	if err := json.Unmarshal(blob, &config); err != nil {
		return image{}, fmt.Errorf("image %s: config: %w: %w", name, ErrImage, err)
	}
	result := image{id: desc.Digest.String(), config: config.Config, chainID: identity.ChainID(config.RootFS.DiffIDs).String()}
	return result, r.unpack(ctx, img, result.chainID)
}

// unpack makes the image's snapshots unless they exist. Several containers of one image unpack it once.
func (r *Runtime) unpack(ctx context.Context, img containerd.Image, chainID string) error {
	_, err := r.client.SnapshotService(r.cfg.Snapshotter).Stat(ctx, chainID)
	if !errdefs.IsNotFound(err) {
		return err
	}
	done := r.unpacks.DoChan(chainID, func() (any, error) {
		// Not the first caller's context: others wait for the same result.
		return nil, img.Unpack(r.ctx, r.cfg.Snapshotter)
	})
	select {
	case result := <-done:
		if result.Err != nil {
			return fmt.Errorf("image %s: unpack: %w: %w", img.Name(), ErrImage, result.Err)
		}
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// viewSuffix follows a container's ID in the name of the snapshot that shows its image.
const viewSuffix = "-view"

// labelRoot is containerd's label of what the garbage collector keeps.
const labelRoot = "containerd.io/gc.root"

// view mounts the image's file system read-only for as long as fn runs.
func (r *Runtime) view(ctx context.Context, img image, id string, fn func(root string) error) error {
	if img.chainID == "" {
		return fmt.Errorf("container %s has no image to look into", id)
	}
	service, key := r.client.SnapshotService(r.cfg.Snapshotter), id+viewSuffix
	var mounts []mount.Mount
	err := r.write(ctx, func(ctx context.Context) (err error) {
		// A label and not a lease keeps it, which would be two more transactions; what a crash leaves goes at the next Open.
		labels := snapshots.WithLabels(map[string]string{LabelKind: viewSuffix, labelRoot: time.Now().UTC().Format(time.RFC3339)})
		mounts, err = service.View(ctx, key, img.chainID, labels)
		return err
	})
	if err != nil {
		return fmt.Errorf("view of the image: %w", err)
	}
	defer r.writeLater(snapshotKey(key), func(ctx context.Context) {
		if err := r.removeSnapshot(ctx, key); err != nil {
			r.log.Warn("the view of an image is not removed", "snapshot", key, "error", err)
		}
	})
	return mount.WithReadonlyTempMount(ctx, mounts, fn)
}
