// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"

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
	if a.cfg.ImageGCHighThresholdPercent == 100 { // never, as with the kubelet
		return
	}
	c := imageCollector{
		high: a.cfg.ImageGCHighThresholdPercent, low: a.cfg.ImageGCLowThresholdPercent,
		measure: func() (capacity, available int64, err error) {
			var fs unix.Statfs_t
			if err := unix.Statfs(a.cfg.DataDir, &fs); err != nil {
				return 0, 0, fmt.Errorf("measure the images' file system: statfs %s: %w", a.cfg.DataDir, err)
			}
			return int64(fs.Blocks) * fs.Bsize, int64(fs.Bavail) * fs.Bsize, nil
		},
		remove: a.removeImages,
		tell: func(reason, message string) {
			a.manager.Load().NodeEvent(corev1.EventTypeWarning, reason, message)
		},
		log: a.log,
	}
	tick := time.NewTicker(imageGCEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		c.round(ctx)
	}
}

// imageCollector keeps the images' file system from filling up. Events are the
// kubelet's.
type imageCollector struct {
	// high is how full it may be in percent before images are removed, low how full then.
	high, low int
	measure   func() (capacity, available int64, err error)
	// remove removes unused images until so many bytes are freed, or none are left.
	remove func(ctx context.Context, bytes int64) (freed int64, err error)
	tell   func(reason, message string)
	log    *slog.Logger
	// failed: the last round did.
	failed bool
}

// round looks once. Only from the second failure in a row on is there an event.
func (c *imageCollector) round(ctx context.Context) {
	err := c.collect(ctx)
	if err != nil {
		c.log.Warn("unused images cannot be removed as they should", "err", err)
	}
	if err != nil && c.failed {
		c.tell("ImageGCFailed", err.Error())
	}
	c.failed = err != nil
}

func (c *imageCollector) collect(ctx context.Context) error {
	capacity, available, err := c.measure()
	if err != nil {
		return err
	}
	if capacity == 0 {
		err := errors.New("invalid capacity 0 on image filesystem")
		c.tell("InvalidDiskCapacity", err.Error())
		return err
	}
	free := toFree(capacity, available, c.high, c.low)
	if free <= 0 {
		return nil
	}
	freed, err := c.remove(ctx, free)
	c.log.Info("the images' file system fills up; unused images were removed", "bytes", freed, "wanted", free)
	if err != nil {
		return err
	}
	if freed < free {
		message := fmt.Sprintf("Insufficient free disk space on the node's image filesystem (%d%% of %s used). "+
			"Failed to free sufficient space by deleting unused images (freed %d bytes). "+
			"Investigate disk usage, as it could be used by active images, logs, volumes, or other data.",
			usedPercent(capacity, available), binarySize(capacity), freed)
		c.tell("FreeDiskSpaceFailed", message)
		return errors.New(message)
	}
	return nil
}

// binarySize writes a number of bytes in the largest unit that fits.
func binarySize(bytes int64) string {
	if bytes < 1<<10 {
		return fmt.Sprintf("%d B", bytes)
	}
	size, unit := float64(bytes)/(1<<10), 0
	units := []string{"KiB", "MiB", "GiB", "TiB"}
	for size >= 1<<10 && unit < len(units)-1 {
		size, unit = size/(1<<10), unit+1
	}
	return fmt.Sprintf("%.1f %s", size, units[unit])
}

func usedPercent(capacity, available int64) int {
	return 100 - int(available*100/capacity)
}

// toFree is how many bytes must go: none below the high mark, then all above the
// low one.
func toFree(capacity, available int64, high, low int) int64 {
	if usedPercent(capacity, available) < high {
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
	if len(errs) > 0 {
		return freed, fmt.Errorf("wanted to free %d bytes, but freed %d bytes space with errors in image deletion: %w", bytes, freed, utilerrors.NewAggregate(errs))
	}
	return freed, nil
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
