// SPDX-License-Identifier: Apache-2.0

package image

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/diff"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/pkg/archive"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"
)

// applier unpacks one layer into a snapshot's directory. containerd's own does the same; this one is bounded by Limits, never
// starts a program (containerd prefers unpigz when it is installed), and always syncs the file system before it returns, so
// that a committed snapshot outlives a power cut.
type applier struct {
	content content.Provider
	limits  Limits
	applied func(ocispec.Descriptor) // called after each layer; may be nil
}

// layerError is why a layer cannot be unpacked, without the words that containerd's unpacker adds.
type layerError struct {
	layer digest.Digest
	err   error
}

func (e *layerError) Error() string { return fmt.Sprintf("layer %s: %v", e.layer, e.err) }
func (e *layerError) Unwrap() error { return e.err }

// Apply implements diff.Applier. The returned digest is that of the uncompressed layer, which the unpacker compares with the
// image's configuration.
func (a *applier) Apply(ctx context.Context, desc ocispec.Descriptor, mounts []mount.Mount, _ ...diff.ApplyOpt) (ocispec.Descriptor, error) {
	none := ocispec.Descriptor{}
	if strings.Contains(desc.MediaType, "encrypted") {
		return none, fmt.Errorf("layer %s is encrypted (%s): encrypted images are not supported", desc.Digest, desc.MediaType)
	}
	blob, err := a.content.ReaderAt(ctx, desc)
	if err != nil {
		return none, err
	}
	defer blob.Close()

	m := newMeter(a.limits)
	plain, err := decompress(content.NewReader(blob), m)
	if err != nil {
		return none, &layerError{desc.Digest, err}
	}
	defer plain.Close()

	digester := digest.Canonical.Digester()
	var size int64
	counted := readerFunc(func(p []byte) (int, error) {
		n, err := plain.Read(p)
		digester.Hash().Write(p[:n])
		size += int64(n)
		return n, err
	})
	err = onDirectory(ctx, mounts, func(root string, opts ...archive.ApplyOpt) error {
		if _, err := archive.Apply(ctx, root, counted, append(opts, archive.WithFilter(m.files()))...); err != nil {
			return err
		}
		// The padding behind the archive's end belongs to the digest too.
		if _, err := io.Copy(io.Discard, counted); err != nil {
			return err
		}
		return syncfs(root)
	})
	if err != nil {
		if errors.Is(err, tar.ErrHeader) || errors.Is(err, io.ErrUnexpectedEOF) {
			err = fmt.Errorf("%w: %w", ErrCorrupt, err)
		}
		return none, &layerError{desc.Digest, err}
	}
	if a.applied != nil {
		a.applied(desc)
	}
	return ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Size: size, Digest: digester.Digest()}, nil
}

// files returns a filter that bounds the number of the files and the sum of their sizes: a sparse file in a tar archive is
// larger than its bytes.
func (m *meter) files() archive.Filter {
	var count, sum int64
	return func(h *tar.Header) (bool, error) {
		if count++; count > maxFiles {
			return false, fmt.Errorf("%w: it has more than %d files", ErrTooLarge, maxFiles)
		}
		if err := checkNames(h); err != nil {
			return false, err
		}
		if h.Size < 0 || sum+h.Size < sum {
			return false, fmt.Errorf("%w: %s has the size %d", ErrCorrupt, h.Name, h.Size)
		}
		if h.Typeflag == tar.TypeReg {
			sum += h.Size
		}
		// The file's own bytes are still to be read: judge only the sum against the hard limit here, and against the ratio
		// when the archive declares a sparse file, whose holes need no input.
		if sum > m.limits.MaxBytes || isSparse(h) {
			return true, m.allow(sum)
		}
		return true, nil
	}
}

func isSparse(h *tar.Header) bool {
	if h.Typeflag == tar.TypeGNUSparse {
		return true
	}
	for key := range h.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return true
		}
	}
	return false
}

// onDirectory calls f with the directory that a snapshot's mounts write to. Overlay and bind mounts need not be mounted for
// that; whiteouts are then written as overlayfs keeps them.
func onDirectory(ctx context.Context, mounts []mount.Mount, f func(string, ...archive.ApplyOpt) error) error {
	if len(mounts) == 1 {
		switch m := mounts[0]; m.Type {
		case "bind":
			return f(m.Source)
		case "overlay":
			var upper string
			var lower []string
			for _, option := range m.Options {
				if dir, ok := strings.CutPrefix(option, "upperdir="); ok {
					upper = dir
				} else if dirs, ok := strings.CutPrefix(option, "lowerdir="); ok {
					lower = strings.Split(dirs, ":")
				}
			}
			if upper != "" {
				return f(upper, archive.WithConvertWhiteout(archive.OverlayConvertWhiteout), archive.WithParents(lower))
			}
		}
	}
	return mount.WithTempMount(ctx, mounts, func(root string) error { return f(root) })
}

func syncfs(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := unix.Syncfs(int(dir.Fd())); err != nil {
		return fmt.Errorf("syncfs %s: %w", path, err)
	}
	return nil
}

// boundedContent refuses to open what is to be read into memory when it is larger than any index, manifest or configuration.
type boundedContent struct{ content.Store }

func (b boundedContent) ReaderAt(ctx context.Context, desc ocispec.Descriptor) (content.ReaderAt, error) {
	r, err := b.Store.ReaderAt(ctx, desc)
	if err == nil && r.Size() > maxJSON {
		r.Close()
		return nil, fmt.Errorf("%w: %s %s has %d bytes, the limit is %d", ErrTooLarge, desc.MediaType, desc.Digest, r.Size(), int64(maxJSON))
	}
	if errdefs.IsNotFound(err) {
		return nil, fmt.Errorf("%s %s: %w", desc.MediaType, desc.Digest, err)
	}
	return r, err
}
