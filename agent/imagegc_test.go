// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/minikubelet/minikubelet/runtime/image"
)

func TestWhichImagesGo(t *testing.T) {
	now := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	old := now.Add(-time.Hour)
	all := []image.Image{
		{Name: "r/old:1", Source: "registry", CreatedAt: old},
		{Name: "r/older:1", Source: "registry", CreatedAt: old.Add(-time.Hour)},
		{Name: "r/new:1", Source: "registry", CreatedAt: now.Add(-time.Minute)},
		{Name: "r/wanted:1", Source: "registry", CreatedAt: old},
		{Name: "r/alias:1", Source: "registry", CreatedAt: old, RepoTags: []string{"r/alias:1", "r/wanted:2"}},
		{Name: "r/imported:1", Source: "oci-archive", CreatedAt: old},
		{Name: "r/pause:1", CreatedAt: old},
	}
	var got []string
	for _, i := range removable(all, map[string]bool{"r/wanted:1": true, "r/wanted:2": true}, now) {
		got = append(got, i.Name)
	}
	if len(got) != 2 || got[0] != "r/older:1" || got[1] != "r/old:1" {
		t.Errorf("%q", got)
	}
}

func TestHowMuchIsFreed(t *testing.T) {
	for _, tt := range []struct{ available, want int64 }{{160, 0}, {150, 50}, {100, 100}, {0, 200}} {
		if got := toFree(1000, tt.available, 85, 80); got != tt.want {
			t.Errorf("%d of 1000 are left: %d bytes go, want %d", tt.available, got, tt.want)
		}
	}
}

// TestWhatIsToldOfImages has one round after the other.
func TestWhatIsToldOfImages(t *testing.T) {
	const gib = int64(1) << 30
	const full = "Insufficient free disk space on the node's image filesystem (90% of 10.0 GiB used). " +
		"Failed to free sufficient space by deleting unused images (freed 5 bytes). " +
		"Investigate disk usage, as it could be used by active images, logs, volumes, or other data."
	var told []string
	c := imageCollector{high: 85, low: 80, log: slog.New(slog.DiscardHandler), tell: func(reason, message string) { told = append(told, reason+": "+message) }}
	for i, r := range []struct {
		capacity, available, freed int64
		measured, removed          error
		want                       []string
	}{
		{10 * gib, 5 * gib, 0, nil, nil, nil},
		{10 * gib, gib, 5, nil, nil, []string{"FreeDiskSpaceFailed: " + full}},
		{10 * gib, gib, 5, nil, nil, []string{"FreeDiskSpaceFailed: " + full, "ImageGCFailed: " + full}},
		{10 * gib, gib, 5, nil, errors.New("read-only"), []string{"ImageGCFailed: read-only"}},
		{10 * gib, gib, gib, nil, nil, nil},
		{0, 0, 0, errors.New("no such directory"), nil, nil},
		{0, 0, 0, nil, nil, []string{"InvalidDiskCapacity: invalid capacity 0 on image filesystem", "ImageGCFailed: invalid capacity 0 on image filesystem"}},
	} {
		told = nil
		c.measure = func() (int64, int64, error) { return r.capacity, r.available, r.measured }
		c.remove = func(context.Context, int64) (int64, error) { return r.freed, r.removed }
		if c.round(t.Context()); !slices.Equal(told, r.want) {
			t.Errorf("round %d: told %q, want %q", i, told, r.want)
		}
	}
}

func TestBinarySize(t *testing.T) {
	for bytes, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 1536: "1.5 KiB", 3 << 20: "3.0 MiB", 1 << 40: "1.0 TiB", 1 << 52: "4096.0 TiB"} {
		if got := binarySize(bytes); got != want {
			t.Errorf("%d: %s, want %s", bytes, got, want)
		}
	}
}
