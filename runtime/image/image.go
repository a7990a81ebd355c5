// SPDX-License-Identifier: Apache-2.0

package image

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sort"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// labelSource says where an image came from: one of the source values.
const labelSource = "minikubelet/source"

const (
	sourceRegistry = "registry"
	sourceOCI      = "oci-archive"
	sourceDocker   = "docker-archive" // its manifest was made here, so its digest is not a registry's
)

// Image is one name in the store and what it points to. It is a value: changing it changes nothing in the store.
type Image struct {
	Name    string        // normalised; the name of containerd's image record
	Target  digest.Digest // digest that the name points to: an index or a manifest
	Digest  digest.Digest // digest of this platform's manifest
	ID      digest.Digest // digest of the configuration, as Kubernetes' image ID; of an artifact, of the manifest
	Size    int64         // bytes of manifest, configuration and (compressed) layers
	Config  ocispec.ImageConfig
	ChainID digest.Digest // key of the unpacked layers' snapshot, the parent for a container's own; "" without layers

	Platform    string    // os/architecture of the configuration; "" for an artifact
	RepoTags    []string  // all tagged names of the same content, sorted
	RepoDigests []string  // repository@digest for all names whose digest a registry would know, sorted
	CreatedAt   time.Time // when the name was first put into the store
	Artifact    string    // type of an artifact, which can be a volume but not run; "" for an image
	Source      string    // "registry", "oci-archive" or "docker-archive"
	Problem     string    // only from List: why the image cannot be used; "" when it is whole
}

// details are the facts that follow from the target's digest alone, and so may be cached.
type details struct {
	manifest digest.Digest
	config   ocispec.Descriptor // of an artifact, whose configuration may be that of all others, the manifest
	artifact string
	layers   []ocispec.Descriptor
	size     int64
	image    ocispec.Image
	chainID  digest.Digest
}

// errIncomplete marks an image of which something is missing or damaged.
var errIncomplete = errors.New("incomplete")

// Get finds an image by name, by repository@digest or by ID (sha256:…). It is false when there is none, and also when there is
// a record but not all of its content, so that the caller pulls it again. Layers that are there but not unpacked, as after a
// crash in an import, are unpacked now.
func (s *Store) Get(ctx context.Context, ref string) (Image, bool, error) {
	ctx = s.within(ctx)
	found, err := s.find(ctx, ref)
	if err != nil {
		return Image{}, false, err
	}
	for _, record := range found {
		d, err := s.whole(ctx, record)
		if errors.Is(err, errIncomplete) {
			s.scrub(ctx, record.Target)
			s.log.Warn("an image in the store is incomplete and counts as absent", "image", record.Name, "error", err)
			continue
		}
		if err != nil {
			return Image{}, false, &Error{Subject: record.Name, Kind: kindOf(err), Err: err}
		}
		all, err := s.records().List(ctx)
		if err != nil {
			return Image{}, false, fmt.Errorf("list images: %w", err)
		}
		return describe(record, d, all), true, nil
	}
	return Image{}, false, nil
}

// List returns all images, sorted by name, the incomplete ones with a Problem.
func (s *Store) List(ctx context.Context) ([]Image, error) {
	ctx = s.within(ctx)
	all, err := s.records().List(ctx)
	if err != nil {
		return nil, fmt.Errorf("list images: %w", err)
	}
	sort.Slice(all, func(i, j int) bool { return all[i].Name < all[j].Name })
	list := make([]Image, 0, len(all))
	for _, record := range all {
		d, err := s.inspect(ctx, record.Target)
		if err != nil {
			list = append(list, Image{Name: record.Name, Target: record.Target.Digest, CreatedAt: record.CreatedAt,
				Source: record.Labels[labelSource], Problem: err.Error()})
			continue
		}
		img := describe(record, d, all)
		if err := s.unpacked(ctx, d); err != nil {
			img.Problem = err.Error()
		}
		list = append(list, img)
	}
	return list, nil
}

// find returns the records that a reference may mean, the best first.
func (s *Store) find(ctx context.Context, ref string) ([]images.Image, error) {
	if id, ok := idOf(ref); ok {
		return s.findDigest(ctx, "", id)
	}
	name, err := Normalise(ref)
	if err != nil {
		return nil, err
	}
	var found []images.Image
	record, err := s.records().Get(ctx, name)
	switch {
	case err == nil:
		found = append(found, record)
	case !errdefs.IsNotFound(err):
		return nil, fmt.Errorf("look up image %s: %w", name, err)
	}
	_, repository, _, dgst, err := parsed(name)
	if err != nil || dgst == "" {
		return found, err
	}
	more, err := s.findDigest(ctx, repository, dgst)
	return append(found, more...), err
}

// findDigest returns the records whose target, manifest or (without a repository) configuration has the digest. With a
// repository, only names in it count: a digest is only known to be served by a repository that it came from.
func (s *Store) findDigest(ctx context.Context, repository string, dgst digest.Digest) ([]images.Image, error) {
	all, err := s.records().List(ctx)
	if err != nil {
		return nil, fmt.Errorf("list images: %w", err)
	}
	var found []images.Image
	for _, record := range all {
		if repository != "" {
			_, r, _, _, err := parsed(record.Name)
			if err != nil || r != repository {
				continue
			}
		}
		if record.Target.Digest == dgst {
			found = append(found, record)
			continue
		}
		d, err := s.inspect(ctx, record.Target)
		if err == nil && (d.manifest == dgst || repository == "" && d.config.Digest == dgst) {
			found = append(found, record)
		}
	}
	return found, nil
}

func describe(record images.Image, d *details, all []images.Image) Image {
	img := Image{
		Name:      record.Name,
		Target:    record.Target.Digest,
		Digest:    d.manifest,
		ID:        d.config.Digest,
		Size:      d.size,
		Config:    d.image.Config,
		ChainID:   d.chainID,
		Artifact:  d.artifact,
		CreatedAt: record.CreatedAt,
		Source:    record.Labels[labelSource],
	}
	if d.artifact == "" {
		img.Platform = d.image.OS + "/" + d.image.Architecture
	}
	for _, other := range all {
		if other.Target.Digest != record.Target.Digest {
			continue
		}
		_, repository, tag, _, err := parsed(other.Name)
		if err != nil {
			continue
		}
		if tag != "" {
			img.RepoTags = append(img.RepoTags, other.Name)
		}
		if source := other.Labels[labelSource]; source != sourceDocker {
			img.RepoDigests = append(img.RepoDigests, repository+"@"+other.Target.Digest.String())
		}
	}
	slices.Sort(img.RepoTags)
	slices.Sort(img.RepoDigests)
	img.RepoDigests = slices.Compact(img.RepoDigests)
	return img
}

// whole makes sure that all of a record's image is there, and unpacks it when only that is missing.
func (s *Store) whole(ctx context.Context, record images.Image) (*details, error) {
	d, err := s.inspect(ctx, record.Target)
	if err != nil {
		return nil, err
	}
	if err = s.unpacked(ctx, d); err == nil || !errors.Is(err, errIncomplete) {
		return d, err
	}
	for _, layer := range d.layers {
		if missing := s.blob(ctx, layer); missing != nil {
			return nil, missing
		}
	}
	s.log.Info("unpacking an image whose layers are there but not unpacked", "image", record.Name)
	ctx, _, release, err := s.lease(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	if err := s.unpack(ctx, record.Target, nil, nil); err != nil {
		if kind := kindOf(err); kind == ErrCorrupt || kind == ErrNotFound {
			return nil, fmt.Errorf("%w: %w", errIncomplete, err)
		}
		return nil, fmt.Errorf("unpack: %w", err)
	}
	return d, s.unpacked(ctx, d)
}

// unpacked is nil when the snapshot of the image's layers is committed.
func (s *Store) unpacked(ctx context.Context, d *details) error {
	if d.chainID == "" {
		return nil
	}
	info, err := s.snapshots().Stat(ctx, d.chainID.String())
	if errdefs.IsNotFound(err) {
		return fmt.Errorf("%w: the layers are not unpacked", errIncomplete)
	}
	if err == nil && info.Kind != snapshots.KindCommitted {
		return fmt.Errorf("%w: the snapshot %s is not committed", errIncomplete, d.chainID)
	}
	return err
}

// blob is nil when the content is there in its full length. It looks at the file: containerd's metadata may know content that
// the disk has lost.
func (s *Store) blob(ctx context.Context, desc ocispec.Descriptor) error {
	r, err := s.content().ReaderAt(ctx, desc)
	if errdefs.IsNotFound(err) {
		return fmt.Errorf("%w: %s is missing", errIncomplete, desc.Digest)
	}
	if err != nil {
		return err
	}
	defer r.Close()
	if desc.Size > 0 && r.Size() != desc.Size {
		return fmt.Errorf("%w: %s has %d bytes instead of %d", errIncomplete, desc.Digest, r.Size(), desc.Size)
	}
	return nil
}

// inspect reads what an image's target leads to for this platform, from the cache if it is still in the store.
func (s *Store) inspect(ctx context.Context, target ocispec.Descriptor) (*details, error) {
	if d := s.details.get(target.Digest); d != nil {
		for _, desc := range []ocispec.Descriptor{{Digest: target.Digest}, {Digest: d.manifest}, d.config} {
			if err := s.blob(ctx, desc); err != nil {
				s.details.drop(target.Digest)
				return nil, err
			}
		}
		return d, nil
	}
	d, err := s.read(ctx, target)
	if errdefs.IsNotFound(err) || errors.Is(err, ErrCorrupt) {
		err = fmt.Errorf("%w: %w", errIncomplete, err)
	}
	if err != nil {
		return nil, err
	}
	s.details.put(target.Digest, d)
	return d, nil
}

// manifest walks from a target to the manifest for this platform. fetch, if given, is called before something is read.
func (s *Store) manifest(ctx context.Context, target ocispec.Descriptor, fetch fetcher) (ocispec.Descriptor, *ocispec.Manifest, error) {
	desc, read := target, func(desc ocispec.Descriptor, into any) error {
		if fetch != nil {
			if err := fetch(ctx, desc, false); err != nil {
				return err
			}
		}
		return s.readJSON(ctx, desc, into)
	}
	// An index may point to an index; deeper nesting is not seen in the wild.
	for depth := 0; images.IsIndexType(desc.MediaType); depth++ {
		if depth == 4 {
			return desc, nil, fmt.Errorf("%w: %s: indexes are nested too deep", ErrCorrupt, target.Digest)
		}
		var index ocispec.Index
		if err := read(desc, &index); err != nil {
			return desc, nil, err
		}
		next, err := s.choose(index.Manifests)
		if err != nil {
			return desc, nil, err
		}
		desc = next
	}
	if !images.IsManifestType(desc.MediaType) {
		return desc, nil, fmt.Errorf("%s is neither a container image nor an artifact: its media type is %q", desc.Digest, desc.MediaType)
	}
	manifest := new(ocispec.Manifest)
	return desc, manifest, read(desc, manifest)
}

// read walks from an index or manifest to the configuration.
func (s *Store) read(ctx context.Context, target ocispec.Descriptor) (*details, error) {
	desc, manifest, err := s.manifest(ctx, target, nil)
	if err != nil {
		return nil, err
	}
	if kind := artifactType(manifest); kind != "" {
		d := &details{manifest: desc.Digest, config: desc, artifact: kind, size: desc.Size + manifest.Config.Size, chainID: desc.Digest}
		for _, layer := range manifest.Layers {
			if !isNothing(layer) {
				d.layers = append(d.layers, layer)
				d.size += layer.Size
			}
		}
		return d, nil
	}
	d := &details{manifest: desc.Digest, config: manifest.Config, size: desc.Size + manifest.Config.Size}
	if err := s.readJSON(ctx, manifest.Config, &d.image); err != nil {
		return nil, err
	}
	for _, layer := range manifest.Layers {
		if images.IsLayerType(layer.MediaType) {
			d.layers = append(d.layers, layer)
			d.size += layer.Size
		}
	}
	if len(d.layers) != len(d.image.RootFS.DiffIDs) {
		return nil, fmt.Errorf("%w: the manifest %s has %d layers and its configuration %d", ErrCorrupt, desc.Digest, len(d.layers), len(d.image.RootFS.DiffIDs))
	}
	if len(d.layers) > 0 {
		d.chainID = identity.ChainID(slices.Clone(d.image.RootFS.DiffIDs))
	}
	return d, nil
}

// choose picks the best manifest for this platform.
func (s *Store) choose(manifests []ocispec.Descriptor) (ocispec.Descriptor, error) {
	var fit []ocispec.Descriptor
	for _, m := range manifests {
		if m.Platform == nil || s.platform.Match(*m.Platform) {
			fit = append(fit, m)
		}
	}
	if len(fit) == 0 {
		return ocispec.Descriptor{}, fmt.Errorf("%w (%s)", ErrNoPlatform, offered(manifests))
	}
	sort.SliceStable(fit, func(i, j int) bool {
		if fit[i].Platform == nil || fit[j].Platform == nil {
			return fit[j].Platform == nil && fit[i].Platform != nil
		}
		return s.platform.Less(*fit[i].Platform, *fit[j].Platform)
	})
	return fit[0], nil
}

// readJSON reads a small object, checks its digest (a power cut may have left zeros) and decodes it.
func (s *Store) readJSON(ctx context.Context, desc ocispec.Descriptor, into any) error {
	data, err := content.ReadBlob(ctx, boundedContent{s.content()}, desc)
	if err != nil {
		return err
	}
	if desc.Digest.Algorithm().FromBytes(data) != desc.Digest {
		return fmt.Errorf("%w: %s has other bytes than its digest says", ErrCorrupt, desc.Digest)
	}
	if err := json.NewDecoder(bytes.NewReader(data)).Decode(into); err != nil {
		return fmt.Errorf("%w: %s %s: %w", ErrCorrupt, desc.MediaType, desc.Digest, err)
	}
	return nil
}
