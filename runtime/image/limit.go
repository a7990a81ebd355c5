// SPDX-License-Identifier: Apache-2.0

package image

import (
	"archive/tar"
	"bufio"
	"bytes"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// Limits bound what an archive or a registry can make the store write or hold in memory.
type Limits struct {
	// MaxBytes is the most that one archive, and each layer of an image, may unpack to. 0 means 32 GiB.
	MaxBytes int64
	// MaxRatio is how many bytes one byte of input may become, once more than ratioFloor bytes were written: gzip reaches
	// 1032, zstd far more, but only for data made for it; real layers stay below 50. 0 means 250.
	MaxRatio int64
}

const (
	// ratioFloor is how much may be written before the ratio counts, so that small, very regular archives pass.
	ratioFloor = 256 << 20
	// maxJSON is the largest index, manifest or configuration that is read. Registries stop at 4 MiB.
	maxJSON = 8 << 20
	// maxEntries is how many files an archive may have: each becomes a file with an fsync.
	maxEntries = 20_000
	// maxFiles is how many entries a layer may have: even empty ones need inodes on the disk, and memory while they are
	// unpacked. The largest layers that are in use have some 500,000.
	maxFiles = 2_000_000
	// maxPath is the longest name of a file or a link's target in an archive or a layer, as the kernel has it.
	maxPath = 4096
)

func (l Limits) orDefault() Limits {
	if l.MaxBytes <= 0 {
		l.MaxBytes = 32 << 30
	}
	if l.MaxRatio <= 0 {
		l.MaxRatio = 250
	}
	return l
}

// meter counts what came in from outside, and judges what was made of it.
type meter struct {
	limits Limits
	floor  int64
	in     atomic.Int64
}

func newMeter(limits Limits) *meter {
	return &meter{limits: limits, floor: ratioFloor}
}

// allow says whether so many bytes may be made of what was read so far.
func (m *meter) allow(out int64) error {
	if out > m.limits.MaxBytes {
		return fmt.Errorf("%w: it unpacks to more than %d bytes, the configured limit", ErrTooLarge, m.limits.MaxBytes)
	}
	if in := m.in.Load(); out > m.floor && out/m.limits.MaxRatio > in {
		return fmt.Errorf("%w: %d bytes of it unpack to more than %d, %d times as much, the configured limit",
			ErrTooLarge, in, out, m.limits.MaxRatio)
	}
	return nil
}

// checkNames refuses an entry with a name that no file can have. A tar archive may have one of 1 MiB.
func checkNames(h *tar.Header) error {
	if n := max(len(h.Name), len(h.Linkname)); n > maxPath {
		return fmt.Errorf("%w: %s has a name or a link of %d bytes, more than %d", ErrCorrupt, shorten(h.Name), n, maxPath)
	}
	return nil
}

// source counts the bytes read from r as input.
func (m *meter) source(r io.Reader) io.Reader {
	return readerFunc(func(p []byte) (int, error) {
		n, err := r.Read(p)
		m.in.Add(int64(n))
		return n, err
	})
}

// bounded passes r on while the meter allows what it yields.
func (m *meter) bounded(r io.Reader) io.Reader {
	var out int64
	return readerFunc(func(p []byte) (int, error) {
		n, err := r.Read(p)
		out += int64(n)
		if bad := m.allow(out); bad != nil {
			return 0, bad
		}
		return n, err
	})
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

var (
	gzipMagic = []byte{0x1f, 0x8b}
	zstdMagic = []byte{0x28, 0xb5, 0x2f, 0xfd}
)

// decompress recognises gzip and zstd by their first bytes (RFC 1952, RFC 8878) and passes anything else on unchanged. What it
// yields is bounded by the meter, which must be fed by source. No program is started, whatever is installed.
func decompress(r io.Reader, m *meter) (io.ReadCloser, error) {
	buf := bufio.NewReaderSize(m.source(r), 64<<10)
	head, err := buf.Peek(len(zstdMagic))
	if err != nil && err != io.EOF {
		return nil, err
	}
	switch {
	case bytes.HasPrefix(head, gzipMagic):
		z, err := gzip.NewReader(buf)
		if err != nil {
			return nil, fmt.Errorf("%w: gzip: %w", ErrCorrupt, err)
		}
		return readCloser{m.bounded(broken("gzip", z)), z.Close}, nil
	case bytes.Equal(head, zstdMagic):
		z, err := zstd.NewReader(buf, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(128<<20))
		if err != nil {
			return nil, fmt.Errorf("%w: zstd: %w", ErrCorrupt, err)
		}
		return readCloser{m.bounded(broken("zstd", z)), func() error { z.Close(); return nil }}, nil
	}
	return readCloser{m.bounded(buf), func() error { return nil }}, nil
}

// broken marks the errors of a decoder as broken content.
func broken(format string, r io.Reader) io.Reader {
	return readerFunc(func(p []byte) (int, error) {
		n, err := r.Read(p)
		if err != nil && err != io.EOF {
			err = fmt.Errorf("%w: %s: %w", ErrCorrupt, format, err)
		}
		return n, err
	})
}

type readCloser struct {
	io.Reader
	close func() error
}

func (r readCloser) Close() error { return r.close() }
