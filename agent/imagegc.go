// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"

	"github.com/minikubelet/minikubelet/podmgr"
	"github.com/minikubelet/minikubelet/runtime/image"
)

const (
	// imageGCEvery and imageMinAge are the kubelet's.
	imageGCEvery = 5 * time.Minute
	imageMinAge  = 2 * time.Minute
)

// collectImages removes unused images when the images' file system fills up, until
// ctx ends.
func (a *Agent) collectImages(ctx context.Context) {
	tick := time.NewTicker(imageGCEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		var fs unix.Statfs_t
		if err := unix.Statfs(a.cfg.DataDir, &fs); err != nil || fs.Blocks == 0 {
			a.log.Warn("cannot measure the images' file system", "dir", a.cfg.DataDir, "err", err)
			continue
		}
		free := toFree(int64(fs.Blocks)*fs.Bsize, int64(fs.Bavail)*fs.Bsize, a.cfg.ImageGCHighThresholdPercent, a.cfg.ImageGCLowThresholdPercent)
		if free <= 0 {
			continue
		}
		freed, err := a.removeImages(ctx, free)
		a.log.Info("the images' file system fills up; unused images were removed", "bytes", freed, "wanted", free)
		if err != nil || freed < free {
			a.manager.Load().NodeEvent(corev1.EventTypeWarning, "FreeDiskSpaceFailed", "Failed to garbage collect required amount of images.")
		}
	}
}

// toFree is how many bytes must go: none below the high mark, then all above the
// low one.
func toFree(capacity, available int64, high, low int) int64 {
	if used := 100 - int(available*100/capacity); used < high {
		return 0
	}
	return capacity*int64(100-low)/100 - available
}

// reclaimImages removes all unused images.
func (a *Agent) reclaimImages(ctx context.Context) error {
	freed, err := a.removeImages(ctx, 1<<62)
	a.log.Info("unused images were removed", "bytes", freed)
	return err
}

// removeImages removes unused images, the oldest first, until so many bytes are
// freed.
func (a *Agent) removeImages(ctx context.Context, bytes int64) (freed int64, err error) {
	all, err := a.images.List(ctx)
	if err != nil {
		return 0, err
	}
	wanted := make(map[string]bool)
	err = a.each(func(pod *corev1.Pod) error {
		if pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
			return nil
		}
		for c := range podmgr.Containers(pod) {
			if name, err := image.Normalise(c.Image); err == nil {
				wanted[name] = true
			}
		}
		for i := range pod.Spec.Volumes {
			if source := pod.Spec.Volumes[i].Image; source != nil {
				if name, err := image.Normalise(source.Reference); err == nil {
					wanted[name] = true
				}
			}
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	var errs []error
	for _, i := range removable(all, wanted, time.Now()) {
		if freed >= bytes {
			break
		}
		var used *image.InUseError
		_, err := a.images.Remove(ctx, i.Name, false)
		switch {
		case err == nil:
			a.log.Info("removed an unused image", "image", i.Name, "bytes", i.Size)
			freed += i.Size
		case !errors.As(err, &used):
			errs = append(errs, err)
		}
	}
	return freed, errors.Join(errs...)
}

// removable are the images that may go, the oldest first: those from a registry, from
// which they can come again, that no Pod wants under any of their names and that are
// not brand new. What was imported stays: there may be nowhere else to get it. The
// built-in pause image has no registry either.
func removable(all []image.Image, wanted map[string]bool, now time.Time) []image.Image {
	var out []image.Image
	for _, i := range all {
		inUse := wanted[i.Name] || slices.ContainsFunc(slices.Concat(i.RepoTags, i.RepoDigests), func(name string) bool { return wanted[name] })
		if i.Source == "registry" && !inUse && now.Sub(i.CreatedAt) >= imageMinAge {
			out = append(out, i)
		}
	}
	slices.SortStableFunc(out, func(a, b image.Image) int { return cmp.Compare(a.CreatedAt.UnixNano(), b.CreatedAt.UnixNano()) })
	return out
}
