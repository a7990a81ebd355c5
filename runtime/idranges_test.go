// SPDX-License-Identifier: Apache-2.0

package runtime

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

func TestIDRanges(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "[a]*") // a name like a pattern
	newRanges := func() *IDRanges {
		r, err := NewIDRanges(dir, 1<<16, 8<<16, 1<<16)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	r := newRanges()
	// All at once; each has its own.
	got := make([]specs.LinuxIDMapping, r.Count())
	var all sync.WaitGroup
	for i := range got {
		all.Go(func() {
			var err error
			if got[i], err = r.Take(fmt.Sprint("pod", i)); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	of := make(map[specs.LinuxIDMapping]int)
	for i, ids := range got {
		if other, taken := of[ids]; taken {
			t.Errorf("pod%d and pod%d have %+v", other, i, ids)
		}
		if of[ids] = i; ids.ContainerID != 0 || ids.Size != 1<<16 || ids.HostID < 1<<16 || ids.HostID >= 9<<16 || ids.HostID%(1<<16) != 0 {
			t.Errorf("pod%d has %+v", i, ids)
		}
	}
	if _, err := r.Take("one more"); err == nil || !strings.Contains(err.Error(), "could not find an empty slot to allocate a user namespace") {
		t.Errorf("beyond the last one: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "one more")); !os.IsNotExist(err) {
		t.Errorf("left over: %v", err)
	}
	// Another agent finds what each Pod has, and what one gives back.
	r = newRanges()
	for i, want := range got {
		if ids, err := r.Take(fmt.Sprint("pod", i)); err != nil || ids != want {
			t.Errorf("pod%d has %+v, %v, and had %+v", i, ids, err, want)
		}
	}
	if err := UnpinNamespaces(filepath.Join(dir, "pod3")); err != nil {
		t.Fatal(err)
	}
	if ids, err := r.Take("one more"); err != nil || ids != got[3] {
		t.Errorf("the one that is free: %+v, %v, want %+v", ids, err, got[3])
	}
	// With larger ranges those of before count as a whole.
	larger, err := NewIDRanges(dir, 2<<16, 6<<16, 2<<16)
	if err != nil {
		t.Fatal(err)
	}
	if ids, err := larger.Take("large"); err == nil {
		t.Errorf("%+v overlaps others", ids)
	}
}

func TestIDRangesAreChecked(t *testing.T) {
	const unit = 1 << 16
	for _, c := range []struct {
		first, length, size uint32
		want                string
	}{
		{unit, unit, 0, "0 IDs for each Pod are no multiple of 65536"},
		{unit, unit, 65535, "65535 IDs for each Pod are no multiple of 65536"},
		{0, unit, unit, "the first ID 0 must not be less than the 65536 IDs of each Pod"},
		{unit, 2 * unit, 2 * unit, "the first ID 65536 must not be less"},
		{unit + 1, unit, unit, "the first ID 65537 is no multiple"},
		{unit, unit + 1, unit, "65537 IDs are no multiple"},
		{unit, 0, unit, "0 IDs are no multiple"},
		{unit, 65535 * unit, unit, "are more than there are"},
	} {
		if _, err := NewIDRanges("/x", c.first, c.length, c.size); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%d:%d in %d: %v, want %q", c.first, c.length, c.size, err, c.want)
		}
	}
	if r, err := NewIDRanges("/x", unit, 65534*unit, unit); err != nil || r.Count() != 65534 {
		t.Errorf("all there are: %v", err)
	}
}
