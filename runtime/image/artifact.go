// SPDX-License-Identifier: Apache-2.0

package image

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/archive"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/semaphore"
	"golang.org/x/sys/unix"
)

// An artifact is what a registry keeps beside images: a manifest whose layers are files of any kind. As with CRI-O, each layer
// is a file, as it is, under the name that its title gives; containerd itself mounts images only. The files are in a snapshot
// that is committed under the manifest's digest, so that a volume, the garbage collector and user namespaces find the same
// thing as with an image.

// gcSnapshot is the beginning of containerd's label by which content keeps a snapshot.
const gcSnapshot = "containerd.io/gc.ref.snapshot."

// artifactType is "" for an image.
func artifactType(m *ocispec.Manifest) string {
	kind := m.ArtifactType
	if kind == "" {
		kind = m.Config.MediaType
	}
	if !images.IsConfigType(m.Config.MediaType) {
		return kind
	}
	for _, layer := range m.Layers {
		if images.IsLayerType(layer.MediaType) {
			return ""
		}
	}
	return m.ArtifactType
}

// artifactFile is the path of a layer's file: its title, or its digest when it has none.
func artifactFile(layer ocispec.Descriptor) (string, error) {
	title, ok := layer.Annotations[ocispec.AnnotationTitle]
	if !ok {
		return layer.Digest.Algorithm().String() + "-" + layer.Digest.Encoded(), nil
	}
	name := path.Clean(title)
	bad := name == "." || path.IsAbs(name) || strings.ContainsRune(name, 0) || len(name) >= unix.PathMax
	for part := range strings.SplitSeq(title, "/") {
		bad = bad || part == ".." || len(part) > unix.NAME_MAX
	}
	if bad {
		return "", fmt.Errorf("%w: layer %s of the artifact has the title %q (annotation %s): it is no path below a directory", ErrCorrupt, layer.Digest, shorten(title), ocispec.AnnotationTitle)
	}
	return name, nil
}

// artifactFiles are the layers by the paths of their files.
func (s *Store) artifactFiles(m *ocispec.Manifest) (map[string]ocispec.Descriptor, error) {
	files := make(map[string]ocispec.Descriptor, len(m.Layers))
	var sum int64
	for _, layer := range m.Layers {
		if layer.MediaType == ocispec.MediaTypeEmptyJSON {
			continue // stands for an artifact without files
		}
		name, err := artifactFile(layer)
		if err != nil {
			return nil, err
		}
		if err := layer.Digest.Validate(); err != nil {
			return nil, fmt.Errorf("%w: the artifact's manifest: %q: %w", ErrCorrupt, shorten(layer.Digest.String()), err)
		}
		if other, taken := files[name]; taken && other.Digest != layer.Digest {
			return nil, fmt.Errorf("%w: two layers of the artifact have the title %q", ErrCorrupt, shorten(name))
		}
		files[name] = layer
		if sum += layer.Size; layer.Size < 0 || sum < 0 || sum > s.limits.MaxBytes {
			return nil, fmt.Errorf("%w: the artifact has more than %d bytes, the configured limit", ErrTooLarge, s.limits.MaxBytes)
		}
	}
	return files, nil
}

// isNothing tells an empty file, which containerd does not fetch.
func isNothing(layer ocispec.Descriptor) bool { return layer.Size == 0 }

// unpackArtifact is unpack for an artifact.
func (s *Store) unpackArtifact(ctx context.Context, target, desc ocispec.Descriptor, m *ocispec.Manifest, fetch fetcher, seen *tracker) error {
	files, err := s.artifactFiles(m)
	if err != nil {
		return err
	}
	layers := make(map[digest.Digest]bool)
	for _, layer := range m.Layers {
		layers[layer.Digest] = true
	}
	children := s.children()
	handler := seen.watch(images.HandlerFunc(func(ctx context.Context, desc ocispec.Descriptor) ([]ocispec.Descriptor, error) {
		if layers[desc.Digest] { // whatever its media type says
			return nil, fetch(ctx, desc, true)
		}
		if err := fetch(ctx, desc, false); err != nil {
			return nil, err
		}
		found, err := children.Handle(ctx, desc)
		return slices.DeleteFunc(found, isNothing), err
	}))
	if err := images.Dispatch(ctx, handler, semaphore.NewWeighted(parallelLayers), target); err != nil {
		return err
	}
	if err := s.writeArtifact(ctx, desc.Digest, files); err != nil {
		return err
	}
	label := gcSnapshot + s.snapshotter
	_, err = s.content().Update(ctx, content.Info{Digest: desc.Digest, Labels: map[string]string{label: desc.Digest.String()}}, "labels."+label)
	return err
}

// writeArtifact makes the snapshot, unless it is there.
func (s *Store) writeArtifact(ctx context.Context, manifest digest.Digest, files map[string]ocispec.Descriptor) error {
	name := manifest.String()
	if info, err := s.snapshots().Stat(ctx, name); err == nil && info.Kind == snapshots.KindCommitted {
		return nil
	}
	key := "artifact-" + rand.Text() + "-" + name
	mounts, err := s.snapshots().Prepare(ctx, key, "")
	if err != nil {
		return err
	}
	err = onDirectory(ctx, mounts, func(dir string, _ ...archive.ApplyOpt) error {
		root, err := os.OpenRoot(dir)
		if err != nil {
			return err
		}
		defer root.Close()
		for name, layer := range files {
			if err := s.writeFile(ctx, root, name, layer); err != nil {
				return &layerError{layer.Digest, err}
			}
		}
		return syncfs(dir)
	})
	if err == nil {
		err = s.snapshots().Commit(ctx, name, key)
	}
	if err != nil {
		if gone := s.snapshots().Remove(context.WithoutCancel(ctx), key); gone != nil && !errdefs.IsNotFound(gone) {
			s.log.Warn("a half-made snapshot of an artifact stays until the garbage is collected", "snapshot", key, "error", gone)
		}
		if errdefs.IsAlreadyExists(err) { // another pull was faster
			return nil
		}
	}
	return err
}

// writeFile copies a layer, and checks its bytes: a power cut may have left others.
func (s *Store) writeFile(ctx context.Context, root *os.Root, name string, layer ocispec.Descriptor) error {
	var from io.Reader = strings.NewReader("")
	if !isNothing(layer) {
		blob, err := s.content().ReaderAt(ctx, layer)
		if err != nil {
			return err
		}
		defer blob.Close()
		from = contextReader(ctx, content.NewReader(blob))
	}
	if err := root.MkdirAll(path.Dir(name), 0o755); err != nil {
		return clash(name, err)
	}
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) { // whatever the umask
		if err := root.Chmod(dir, 0o755); err != nil {
			return err
		}
	}
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return clash(name, err)
	}
	defer f.Close()
	verifier := layer.Digest.Verifier()
	if _, err := io.Copy(io.MultiWriter(f, verifier), from); err != nil {
		return err
	}
	if !verifier.Verified() {
		return fmt.Errorf("%w: its bytes have another digest", ErrCorrupt)
	}
	if err := f.Chmod(0o644); err != nil {
		return err
	}
	return f.Close()
}

// clash says it when one title is a directory in another one.
func clash(name string, err error) error {
	if errors.Is(err, fs.ErrExist) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.EISDIR) {
		return fmt.Errorf("%w: the title %q is that of a file and of a directory in the artifact", ErrCorrupt, shorten(name))
	}
	return err
}
