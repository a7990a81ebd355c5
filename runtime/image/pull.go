// SPDX-License-Identifier: Apache-2.0

package image

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/errdefs"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// PullOptions say how to fetch an image.
type PullOptions struct {
	Credentials  Credentials    // nil: anonymous
	HostsDir     string         // directory with <registry>/hosts.toml as containerd knows it; "" or absent: none
	Progress     func(Progress) // called from one goroutine at a time, at most ten times a second; may be nil
	StallTimeout time.Duration  // give up when a registry sends nothing for so long; 0 means 2 minutes
}

// Pull fetches an image from its registry and unpacks it, and returns it whole. What is in the store already is not fetched
// again, and a pull that was cut off goes on where it stopped, even after a restart, for two days. Pulls of the same name
// wait for each other. The error is an *Error or an *InvalidNameError; it has ErrNotFound, ErrUnauthorized, ErrCorrupt,
// ErrUnreachable, ErrNoPlatform, ErrTooLarge, ErrNoSpace or the context's error in its chain.
func (s *Store) Pull(ctx context.Context, ref string, o PullOptions) (Image, error) {
	name, err := Normalise(ref)
	if err != nil {
		return Image{}, err
	}
	unlock, err := s.pulls.lock(ctx, name)
	if err != nil {
		return Image{}, &Error{Subject: name, Err: err}
	}
	defer unlock()

	ctx = s.within(ctx)
	lease, err := s.pullLease(ctx, name)
	if err != nil {
		return Image{}, &Error{Subject: name, Err: err}
	}
	img, err := s.fetch(leases.WithLease(ctx, lease.ID), name, o)
	if errors.Is(err, ErrScrubbed) {
		img, err = s.fetch(leases.WithLease(ctx, lease.ID), name, o)
	}
	switch kindOf(err) {
	case nil, ErrUnreachable, ErrNoSpace:
		if err == nil {
			s.release(ctx, lease)
		}
		// Otherwise the line was cut or the caller gave up: the lease keeps what has arrived.
	default:
		s.release(ctx, lease, leases.SynchronousDelete)
	}
	if err != nil {
		return Image{}, classify(name, err)
	}
	return img, nil
}

func (s *Store) fetch(ctx context.Context, name string, o PullOptions) (Image, error) {
	resolver, err := newResolver(ctx, name, o)
	if err != nil {
		return Image{}, err
	}
	if o.StallTimeout <= 0 {
		o.StallTimeout = 2 * time.Minute
	}
	seen := newTracker(o.Progress)
	_, target, err := resolver.Resolve(ctx, name)
	if err != nil {
		return Image{}, err
	}
	if !images.IsManifestType(target.MediaType) && !images.IsIndexType(target.MediaType) {
		return Image{}, fmt.Errorf("it is neither a container image nor an artifact with a manifest as images have it: media type %q", target.MediaType)
	}
	fetcher, err := resolver.Fetcher(ctx, name)
	if err != nil {
		return Image{}, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	sourceLabel, err := docker.AppendDistributionSourceLabel(s.content(), name)
	if err != nil {
		return Image{}, err
	}
	source := &watchedFetcher{Fetcher: fetcher, seen: seen, stall: o.StallTimeout, cancel: cancel}
	err = s.unpack(ctx, target, s.fetchFrom(source, sourceLabel), seen)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil && !errors.Is(err, cause) && errors.Is(err, context.Canceled) {
			err = cause
		}
		// Damaged JSON in the store has no kind of its own.
		kind := kindOf(err)
		if suspect := kind == ErrCorrupt || kind == ErrNotFound || kind == nil; suspect && ctx.Err() == nil && s.scrub(ctx, target) {
			err = fmt.Errorf("%w: %w", ErrScrubbed, err)
		}
		return Image{}, err
	}
	record, err := s.put(ctx, name, target, map[string]string{labelSource: sourceRegistry})
	if err != nil {
		return Image{}, fmt.Errorf("write the image's record: %w", err)
	}
	img, err := s.finished(ctx, record)
	if err == nil {
		seen.done()
	}
	return img, err
}

// finished describes a record that has just been written, and makes sure that it is whole.
func (s *Store) finished(ctx context.Context, record images.Image) (Image, error) {
	d, err := s.whole(ctx, record)
	if err != nil {
		return Image{}, err
	}
	all, err := s.records().List(ctx)
	if err != nil {
		return Image{}, fmt.Errorf("list images: %w", err)
	}
	return describe(record, d, all), nil
}

// fetchFrom stores one descriptor's content, bounded by what may be read into memory later.
func (s *Store) fetchFrom(source remotes.Fetcher, then images.HandlerFunc) fetcher {
	store := s.content()
	return func(ctx context.Context, desc ocispec.Descriptor, layer bool) error {
		if !layer && desc.Size > maxJSON {
			return fmt.Errorf("%w: %s %s has %d bytes, the limit is %d", ErrTooLarge, desc.MediaType, desc.Digest, desc.Size, int64(maxJSON))
		}
		if desc.Size > s.limits.MaxBytes {
			return fmt.Errorf("%w: layer %s has %d bytes, the configured limit is %d", ErrTooLarge, desc.Digest, desc.Size, s.limits.MaxBytes)
		}
		_, err := remotes.FetchHandler(store, source)(ctx, desc)
		if err != nil {
			if errdefs.IsFailedPrecondition(err) {
				// A wrong digest: what has arrived is of no use and would be resumed.
				err = fmt.Errorf("%w: the registry sent other bytes for %s than its digest says", ErrCorrupt, desc.Digest)
				if abort := store.Abort(context.WithoutCancel(ctx), remotes.MakeRefKey(ctx, desc)); abort != nil && !errdefs.IsNotFound(abort) {
					s.log.Warn("a broken download stays until it expires", "digest", desc.Digest, "error", abort)
				}
			} else if errdefs.IsNotFound(err) {
				err = fmt.Errorf("%w: %s %s, which the image needs, is missing from it", ErrNotFound, desc.MediaType, desc.Digest)
			}
			return err
		}
		_, err = then(ctx, desc)
		return err
	}
}

const (
	expireLabel  = "containerd.io/gc.expire"
	pullLeaseTTL = 48 * time.Hour
)

// pullLease finds the lease that an unfinished pull of the same name left, or creates it. It has a day left at least.
func (s *Store) pullLease(ctx context.Context, name string) (leases.Lease, error) {
	sum := sha256.Sum256([]byte(name))
	id := "pull-" + hex.EncodeToString(sum[:16])
	service := s.client.LeasesService()
	for {
		l, err := service.Create(ctx, leases.WithID(id), leases.WithExpiration(pullLeaseTTL),
			leases.WithLabel("minikubelet/pull", name))
		if err == nil || !errdefs.IsAlreadyExists(err) {
			return l, err
		}
		old, err := service.List(ctx, "id=="+id)
		if err != nil {
			return leases.Lease{}, err
		}
		if len(old) == 0 {
			continue
		}
		expires, err := time.Parse(time.RFC3339, old[0].Labels[expireLabel])
		if err == nil && time.Until(expires) > pullLeaseTTL/2 {
			return old[0], nil
		}
		if err := service.Delete(ctx, old[0]); err != nil && !errdefs.IsNotFound(err) {
			return leases.Lease{}, err
		}
	}
}

// watchedFetcher reports the bytes that arrive, and cancels the pull when none do for too long: a cut line may otherwise
// hang for ever, since TCP need not notice.
type watchedFetcher struct {
	remotes.Fetcher
	seen   *tracker
	stall  time.Duration
	cancel context.CancelCauseFunc
}

func (f *watchedFetcher) Fetch(ctx context.Context, desc ocispec.Descriptor) (io.ReadCloser, error) {
	defer f.watch()()
	body, err := f.Fetcher.Fetch(ctx, desc)
	if err != nil {
		return nil, err
	}
	return &watchedBody{ReadCloser: body, fetcher: f, desc: desc}, nil
}

// watch starts the clock; the returned function stops it.
func (f *watchedFetcher) watch() func() bool {
	return time.AfterFunc(f.stall, func() {
		f.cancel(fmt.Errorf("%w: it sent nothing for %s", ErrUnreachable, f.stall))
	}).Stop
}

type watchedBody struct {
	io.ReadCloser
	fetcher *watchedFetcher
	desc    ocispec.Descriptor
	at      int64
}

func (b *watchedBody) Read(p []byte) (int, error) {
	stop := b.fetcher.watch()
	n, err := b.ReadCloser.Read(p)
	stop()
	b.at += int64(n)
	b.fetcher.seen.at(b.desc.Digest, b.at)
	return n, err
}

// Seek lets containerd resume an unfinished download.
func (b *watchedBody) Seek(offset int64, whence int) (int64, error) {
	seeker, ok := b.ReadCloser.(io.Seeker)
	if !ok {
		return 0, errors.New("the registry's connection cannot seek")
	}
	at, err := seeker.Seek(offset, whence)
	if err == nil {
		b.at = at
	}
	return at, err
}
