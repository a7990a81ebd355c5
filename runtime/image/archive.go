// SPDX-License-Identifier: Apache-2.0

package image

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"strconv"
	"strings"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// archived is one image of an archive, its content in the store.
type archived struct {
	target ocispec.Descriptor
	names  []string // normalised, without duplicates
	source string
}

// archiveReader streams a tar archive into the content store and then makes sense of it: the files that say what is in it may
// come last. An archive's blobs that no image refers to are dropped when the lease ends.
type archiveReader struct {
	store content.Store
	meter *meter
	refs  string // prefix for the store's ingest keys, unique for this import

	blobs    map[string]ocispec.Descriptor // by path in the archive: digest and size
	heads    map[string][]byte             // by path: the first bytes, to tell a compressed layer
	links    map[string]string
	layout   []byte // oci-layout
	index    []byte // index.json
	manifest []byte // manifest.json
	written  int64
}

func (a *archiveReader) read(ctx context.Context, r io.Reader) ([]archived, error) {
	a.blobs, a.heads, a.links = map[string]ocispec.Descriptor{}, map[string][]byte{}, map[string]string{}
	tr := tar.NewReader(r)
	for entries := 0; ; entries++ {
		h, err := tr.Next()
		if err == io.EOF {
			if entries == 0 {
				return nil, fmt.Errorf("%w: the file is empty or no tar archive", ErrCorrupt)
			}
			break
		}
		if err != nil {
			return nil, tarError(err)
		}
		if entries >= maxEntries {
			return nil, fmt.Errorf("%w: the archive has more than %d files", ErrTooLarge, maxEntries)
		}
		if err := checkNames(h); err != nil {
			return nil, err
		}
		if err := a.entry(ctx, h, tr); err != nil {
			return nil, err
		}
	}
	if a.index != nil {
		return a.fromOCI()
	}
	if a.manifest != nil {
		return a.fromDocker(ctx)
	}
	return nil, fmt.Errorf("%w: no image archive: it has neither an index.json (OCI) nor a manifest.json (docker)", ErrCorrupt)
}

// entry takes in one file.
func (a *archiveReader) entry(ctx context.Context, h *tar.Header, r io.Reader) error {
	name := path.Clean("/" + h.Name)[1:]
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeGNUSparse:
	case tar.TypeSymlink:
		a.links[name] = path.Join("/", path.Dir(name), h.Linkname)[1:]
		return nil
	case tar.TypeLink:
		a.links[name] = path.Clean("/" + h.Linkname)[1:]
		return nil
	default:
		return nil
	}
	var err error
	switch name {
	case ocispec.ImageLayoutFile:
		a.layout, err = readSmall(r, name)
	case ocispec.ImageIndexFile:
		a.index, err = readSmall(r, name)
	case "manifest.json":
		a.manifest, err = readSmall(r, name)
	case "repositories":
	default:
		// docker once wrote a file VERSION and a file json beside each layer.
		if base := path.Base(name); base == "VERSION" || base == "json" {
			return nil
		}
		a.written += h.Size
		if err := a.meter.allow(a.written); err != nil {
			return err
		}
		err = a.ingest(ctx, name, h.Size, r)
	}
	if err != nil {
		return fmt.Errorf("%s in the archive: %w", shorten(name), tarError(err))
	}
	return nil
}

func readSmall(r io.Reader, name string) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxJSON+1))
	if err == nil && len(data) > maxJSON {
		err = fmt.Errorf("%w: %s has more than %d bytes", ErrTooLarge, name, int64(maxJSON))
	}
	return data, err
}

// ingest writes one file into the content store. A file named blobs/<algorithm>/<hash> must have that digest.
func (a *archiveReader) ingest(ctx context.Context, name string, size int64, r io.Reader) error {
	want := digestOfPath(name)
	desc := ocispec.Descriptor{Digest: want, Size: size}
	w, err := content.OpenWriter(ctx, a.store, content.WithRef(a.refs+"-"+strconv.Itoa(len(a.blobs))), content.WithDescriptor(desc))
	if errdefs.IsAlreadyExists(err) {
		a.blobs[name] = desc
		return nil
	}
	if err != nil {
		return err
	}
	defer w.Close()
	if st, err := w.Status(); err == nil && want != "" && st.Offset == size && size > 0 {
		// Another containerd namespace has it, or had it until a moment ago: it is shared, not written.
		a.blobs[name] = desc
		return w.Commit(ctx, size, want)
	}
	var head prefix
	if n, err := io.Copy(w, io.TeeReader(r, &head)); err != nil {
		return err
	} else if n != size {
		return fmt.Errorf("%w: %d bytes instead of %d", ErrCorrupt, n, size)
	}
	got := w.Digest()
	if want != "" && want.Algorithm() == got.Algorithm() && got != want {
		return fmt.Errorf("%w: its bytes have the digest %s", ErrCorrupt, got)
	}
	if err := w.Commit(ctx, size, want); err != nil && !errdefs.IsAlreadyExists(err) {
		return err
	}
	if want == "" {
		desc.Digest = got
	}
	a.blobs[name], a.heads[name] = desc, head
	return nil
}

// prefix keeps the first bytes written to it.
type prefix []byte

func (p *prefix) Write(b []byte) (int, error) {
	if room := 8 - len(*p); room > 0 {
		*p = append(*p, b[:min(room, len(b))]...)
	}
	return len(b), nil
}

// digestOfPath is "" for a path that is not of an OCI layout's blob.
func digestOfPath(name string) digest.Digest {
	parts := strings.Split(name, "/")
	if len(parts) != 3 || parts[0] != "blobs" {
		return ""
	}
	d, err := digest.Parse(parts[1] + ":" + parts[2])
	if err != nil {
		return ""
	}
	return d
}

func tarError(err error) error {
	switch {
	case errors.Is(err, ErrCorrupt), errors.Is(err, ErrTooLarge):
		return err
	case errors.Is(err, tar.ErrHeader):
		return fmt.Errorf("%w: no tar archive, or a damaged one", ErrCorrupt)
	case errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("%w: the archive ends too early", ErrCorrupt)
	}
	return err
}

// fromOCI reads the index of an OCI layout (image-spec, image-layout.md).
func (a *archiveReader) fromOCI() ([]archived, error) {
	if a.layout != nil {
		var layout ocispec.ImageLayout
		if err := json.Unmarshal(a.layout, &layout); err != nil {
			return nil, fmt.Errorf("%w: %s: %w", ErrCorrupt, ocispec.ImageLayoutFile, err)
		}
		if !strings.HasPrefix(layout.Version, "1.") {
			return nil, fmt.Errorf("%s: version %q of the OCI image layout is not supported", ocispec.ImageLayoutFile, layout.Version)
		}
	}
	found, err := parseIndex(a.index)
	if err != nil {
		return nil, err
	}
	for _, f := range found {
		blob, ok := a.blobs["blobs/"+f.target.Digest.Algorithm().String()+"/"+f.target.Digest.Encoded()]
		if !ok {
			return nil, fmt.Errorf("%w: %s, which index.json names, is not in the archive", ErrCorrupt, f.target.Digest)
		}
		if blob.Size != f.target.Size {
			return nil, fmt.Errorf("%w: %s has %d bytes, index.json says %d", ErrCorrupt, f.target.Digest, blob.Size, f.target.Size)
		}
	}
	return found, nil
}

// parseIndex returns the images that an index.json names, each once with all its names.
func parseIndex(data []byte) ([]archived, error) {
	var index ocispec.Index
	if err := json.Unmarshal(data, &index); err != nil {
		return nil, fmt.Errorf("%w: index.json: %w", ErrCorrupt, err)
	}
	var found []archived
	at := map[digest.Digest]int{}
	for i, m := range index.Manifests {
		if !images.IsManifestType(m.MediaType) && !images.IsIndexType(m.MediaType) {
			continue // a signature or another artifact
		}
		if m.Platform != nil && m.Platform.OS == "unknown" {
			continue // buildkit's attestations
		}
		if err := m.Digest.Validate(); err != nil {
			return nil, fmt.Errorf("%w: index.json: manifests[%d].digest %q: %w", ErrCorrupt, i, shorten(m.Digest.String()), err)
		}
		name, err := annotatedName(m.Annotations)
		if err != nil {
			return nil, err
		}
		n, ok := at[m.Digest]
		if !ok {
			n = len(found)
			at[m.Digest] = n
			target := ocispec.Descriptor{MediaType: m.MediaType, Digest: m.Digest, Size: m.Size, Platform: m.Platform}
			found = append(found, archived{target: target, source: sourceOCI})
		}
		found[n].names = appendNew(found[n].names, name)
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("%w: index.json names no image", ErrCorrupt)
	}
	return found, nil
}

// annotatedName is "" when the annotations hold no name, or only a tag.
func annotatedName(annotations map[string]string) (string, error) {
	if name := annotations[images.AnnotationImageName]; name != "" {
		return Normalise(name)
	}
	if name := annotations[ocispec.AnnotationRefName]; strings.ContainsAny(name, "/:@") {
		return Normalise(name)
	}
	return "", nil
}

func appendNew(names []string, name string) []string {
	if name == "" {
		return names
	}
	for _, n := range names {
		if n == name {
			return names
		}
	}
	return append(names, name)
}

// dockerImage is one element of the manifest.json that `docker save` writes.
type dockerImage struct {
	Config   string
	RepoTags []string
	Layers   []string
}

// fromDocker makes a manifest for each image of a docker archive, which has none.
func (a *archiveReader) fromDocker(ctx context.Context) ([]archived, error) {
	list, err := parseDockerManifest(a.manifest)
	if err != nil {
		return nil, err
	}
	var found []archived
	for _, image := range list {
		config, _, err := a.file(image.Config)
		if err != nil {
			return nil, err
		}
		config.MediaType = images.MediaTypeDockerSchema2Config
		manifest := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: images.MediaTypeDockerSchema2Manifest, Config: config}
		for _, name := range image.Layers {
			layer, head, err := a.file(name)
			if err != nil {
				return nil, err
			}
			layer.MediaType = dockerLayerType(head)
			manifest.Layers = append(manifest.Layers, layer)
		}
		target, err := writeJSON(ctx, a.store, manifest.MediaType, manifest)
		if err != nil {
			return nil, err
		}
		one := archived{target: target, source: sourceDocker}
		for _, tag := range image.RepoTags {
			name, err := Normalise(tag)
			if err != nil {
				return nil, err
			}
			one.names = appendNew(one.names, name)
		}
		found = append(found, one)
	}
	return found, nil
}

func parseDockerManifest(data []byte) ([]dockerImage, error) {
	var list []dockerImage
	if err := json.Unmarshal(data, &list); err != nil {
		return nil, fmt.Errorf("%w: manifest.json: %w", ErrCorrupt, err)
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("%w: manifest.json names no image", ErrCorrupt)
	}
	for i, image := range list {
		if image.Config == "" {
			return nil, fmt.Errorf("%w: manifest.json: [%d].Config is missing", ErrCorrupt, i)
		}
	}
	return list, nil
}

// file finds a file of the archive, through links: docker shares equal layers that way.
func (a *archiveReader) file(name string) (ocispec.Descriptor, []byte, error) {
	at := path.Clean("/" + name)[1:]
	for range 8 {
		if desc, ok := a.blobs[at]; ok {
			return desc, a.heads[at], nil
		}
		next, ok := a.links[at]
		if !ok {
			break
		}
		at = next
	}
	return ocispec.Descriptor{}, nil, fmt.Errorf("%w: %s, which manifest.json names, is not in the archive", ErrCorrupt, shorten(name))
}

func dockerLayerType(head []byte) string {
	switch {
	case bytes.HasPrefix(head, gzipMagic):
		return images.MediaTypeDockerSchema2LayerGzip
	case bytes.HasPrefix(head, zstdMagic):
		return ocispec.MediaTypeImageLayerZstd
	}
	return images.MediaTypeDockerSchema2Layer
}

// writeJSON stores a small object and returns its descriptor.
func writeJSON(ctx context.Context, store content.Ingester, mediaType string, object any) (ocispec.Descriptor, error) {
	data, err := json.Marshal(object)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	return writeBytes(ctx, store, mediaType, data)
}

func writeBytes(ctx context.Context, store content.Ingester, mediaType string, data []byte) (ocispec.Descriptor, error) {
	desc := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
	if err := content.WriteBlob(ctx, store, "write-"+desc.Digest.String(), bytes.NewReader(data), desc); err != nil {
		return desc, fmt.Errorf("write %s: %w", mediaType, err)
	}
	return desc, nil
}
