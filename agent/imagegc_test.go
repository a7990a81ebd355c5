// SPDX-License-Identifier: Apache-2.0

package agent

import (
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
