// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/minikubelet/minikubelet/runtime/image"
)

func TestNodeImagesAreTheLargestOnce(t *testing.T) {
	list := []image.Image{{Name: "broken", ID: "sha256:b", Size: 1 << 40, Problem: "a layer is missing"}}
	for i := range 60 {
		list = append(list, image.Image{Name: fmt.Sprint("n", i), ID: digest.Digest(fmt.Sprint("sha256:", i)), Size: int64(i)})
	}
	big := image.Image{ID: "sha256:big", Size: 1000, RepoDigests: []string{"r@sha256:1"}, RepoTags: []string{"r:1", "r:2", "r:3", "r:4", "r:5"}}
	list = append(list, big, big)
	got := nodeImages(list)
	if len(got) != imagesShown || got[0].SizeBytes != 1000 || got[1].Names[0] != "n59" || got[49].Names[0] != "n11" {
		t.Errorf("%d images: %v", len(got), got)
	}
	if names := got[0].Names; len(names) != namesShown || names[0] != "r@sha256:1" || names[1] != "r:1" {
		t.Errorf("names %v", names)
	}
}

func TestDiskCapacityOfWhatIsNotThereYet(t *testing.T) {
	dir := t.TempDir()
	there, ok := diskCapacity(dir)
	later, ok2 := diskCapacity(filepath.Join(dir, "not", "yet"))
	if !ok || !ok2 || there.IsZero() || there.Cmp(later) != 0 {
		t.Errorf("%v %v, %v %v", there, ok, later, ok2)
	}
}
