// SPDX-License-Identifier: Apache-2.0

package image

import (
	"context"
	"io"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Progress is how far a pull or an import has come. Totals grow while the manifests are being read.
type Progress struct {
	Bytes, TotalBytes   int64 // compressed bytes of all content, or of the archive's file (TotalBytes 0: unknown)
	Layers, TotalLayers int   // layers whose bytes are all there
	Unpacked            int   // layers unpacked
	Done                bool  // the image is in the store; set once, by the last report
}

// progressInterval is the least time between two reports, except for the last one.
const progressInterval = 100 * time.Millisecond

// tracker adds up the progress of one image. A nil tracker does nothing. report is never called by two goroutines at once.
type tracker struct {
	report func(Progress)
	now    func() time.Time
	file   bool // bytes are those of an archive's file, not of the blobs

	mu    sync.Mutex
	last  time.Time
	sum   Progress
	parts map[digest.Digest]*part
}

type part struct {
	size, got int64
	layer     bool
	there     bool
}

// newTracker returns nil for a nil report.
func newTracker(report func(Progress)) *tracker {
	if report == nil {
		return nil
	}
	return &tracker{report: report, now: time.Now, parts: map[digest.Digest]*part{}}
}

// watch counts the descriptors that a handler finds and finishes.
func (t *tracker) watch(h images.Handler) images.Handler {
	if t == nil {
		return h
	}
	return images.HandlerFunc(func(ctx context.Context, desc ocispec.Descriptor) ([]ocispec.Descriptor, error) {
		t.expect(desc)
		children, err := h.Handle(ctx, desc)
		if err != nil {
			return children, err
		}
		for _, child := range children {
			t.expect(child)
		}
		t.have(desc)
		return children, nil
	})
}

func (t *tracker) expect(desc ocispec.Descriptor) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.parts[desc.Digest] != nil {
		return
	}
	p := &part{size: desc.Size, layer: images.IsLayerType(desc.MediaType)}
	if t.file {
		p.size = 0
	}
	t.parts[desc.Digest] = p
	t.sum.TotalBytes += p.size
	if p.layer {
		t.sum.TotalLayers++
	}
}

// at sets how much of a blob has arrived.
func (t *tracker) at(dgst digest.Digest, got int64) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if p := t.parts[dgst]; p != nil && !p.there {
		got = min(got, p.size)
		t.sum.Bytes += got - p.got
		p.got = got
		t.tell(false)
	}
}

func (t *tracker) have(desc ocispec.Descriptor) {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := t.parts[desc.Digest]
	if p == nil || p.there {
		return
	}
	t.sum.Bytes += p.size - p.got
	p.got, p.there = p.size, true
	if p.layer {
		t.sum.Layers++
	}
	t.tell(false)
}

func (t *tracker) unpackedLayer(ocispec.Descriptor) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sum.Unpacked++
	t.tell(false)
}

// done reports the end. Layers that were in the store already have not been counted one by one.
func (t *tracker) done() {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sum.Bytes = max(t.sum.Bytes, t.sum.TotalBytes)
	t.sum.Layers, t.sum.Unpacked = t.sum.TotalLayers, t.sum.TotalLayers
	t.sum.Done = true
	t.tell(true)
}

func (t *tracker) tell(always bool) {
	now := t.now()
	if !always && now.Sub(t.last) < progressInterval {
		return
	}
	t.last = now
	t.report(t.sum)
}

// countFile reports the position in an archive while it is read.
func (t *tracker) countFile(r io.Reader, size int64) io.Reader {
	if t == nil {
		return r
	}
	t.mu.Lock()
	t.file = true
	t.sum.TotalBytes = size
	t.mu.Unlock()
	return readerFunc(func(p []byte) (int, error) {
		n, err := r.Read(p)
		t.mu.Lock()
		defer t.mu.Unlock()
		t.sum.Bytes += int64(n)
		t.tell(false)
		return n, err
	})
}
