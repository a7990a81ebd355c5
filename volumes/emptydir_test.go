// SPDX-License-Identifier: Apache-2.0

package volumes

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

func TestEmptyDirMode(t *testing.T) {
	needRoot(t)
	for _, c := range []struct {
		name  string
		group *int64
		mode  uint32
	}{
		{"plain", nil, 0o777},
		{"fsGroup", ptr(int64(4321)), 0o2777},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, pod := New(Config{}), newPod(t, "pod")
			pod.FSGroup = c.group
			vols := setup(t, m, pod, disk("d"), memory("m", ""))
			for name, v := range vols {
				var st unix.Stat_t
				if err := unix.Stat(v.Path, &st); err != nil {
					t.Fatal(err)
				}
				if st.Mode&0o7777 != c.mode {
					t.Errorf("%s: mode %o", name, st.Mode&0o7777)
				}
				if c.group != nil && int64(st.Gid) != *c.group {
					t.Errorf("%s: group %d", name, st.Gid)
				}
			}
			want := filepath.Join(pod.Dir, "volumes/kubernetes.io~empty-dir/d")
			if vols["d"].Path != want {
				t.Errorf("path %s, want %s", vols["d"].Path, want)
			}
			if info, _ := os.Stat(filepath.Dir(want)); info.Mode().Perm() != privateMode {
				t.Errorf("mode above the volume %v", info.Mode())
			}
			teardown(t, m, pod)
		})
	}
}

func TestMemorySize(t *testing.T) {
	needRoot(t)
	m, pod := New(Config{}), newPod(t, "pod")
	vols := setup(t, m, pod, memory("v", "1Mi"))
	full := os.WriteFile(filepath.Join(vols["v"].Path, "big"), bytes.Repeat([]byte("x"), 2<<20), 0o644)
	if !errors.Is(full, syscall.ENOSPC) {
		t.Errorf("writing 2 MiB: %v", full)
	}
	use, err := m.Usage(context.Background(), pod)
	if err != nil || use["v"].Bytes != 1<<20 || use["v"].Inodes != 2 { // the directory and the file
		t.Errorf("usage %v, %v", use, err)
	}
	teardown(t, m, pod)
}

func TestTmpfsSize(t *testing.T) {
	const mi = 1 << 20
	for _, c := range []struct {
		limit string
		pod   int64
		want  int64
	}{
		{"", 0, 0}, {"4Mi", 0, 4 * mi}, {"", 8 * mi, 8 * mi}, {"4Mi", 8 * mi, 4 * mi}, {"8Mi", 4 * mi, 4 * mi}, {"0", 4 * mi, 4 * mi}, {"0", 0, 0},
	} {
		e := &corev1.EmptyDirVolumeSource{}
		if c.limit != "" {
			e.SizeLimit = ptr(resource.MustParse(c.limit))
		}
		if got := tmpfsSize(Pod{MemoryLimit: c.pod}, e); got != c.want {
			t.Errorf("limit %q, pod %d: %d, want %d", c.limit, c.pod, got, c.want)
		}
	}
}

// A reboot leaves the directory of a tmpfs without its mount, a crash may
// leave a directory half made.
func TestSetUpAfterCrash(t *testing.T) {
	needRoot(t)
	m, pod := New(Config{}), newPod(t, "pod")
	dir := mkdir(t, filepath.Join(pod.Dir, "volumes/kubernetes.io~empty-dir"))
	mkdir(t, filepath.Join(dir, "d~new"))
	mkdir(t, filepath.Join(dir, "m"))
	use, err := m.Usage(context.Background(), pod)
	if _, listed := use["d~new"]; err != nil || listed {
		t.Errorf("usage with a half-made volume: %v, %v", use, err)
	}
	vols := setup(t, m, pod, disk("d"), memory("m", "1Mi"))
	if mounted, err := isMountOf(vols["m"].Path, unix.TMPFS_MAGIC); !mounted || err != nil {
		t.Errorf("tmpfs: %v, %v", mounted, err)
	}
	if info, err := os.Stat(vols["d"].Path); err != nil || info.Mode().Perm() != 0o777 {
		t.Errorf("disk: %v, %v", info, err)
	}
	mkdir(t, filepath.Join(dir, "other~new"))
	teardown(t, m, pod)
}

func TestUsageOnDisk(t *testing.T) {
	needRoot(t)
	m, pod := New(Config{}), newPod(t, "pod")
	vols := setup(t, m, pod, disk("v"), disk("empty"))
	before, err := m.Usage(context.Background(), pod)
	if err != nil {
		t.Fatal(err)
	}
	big := filepath.Join(vols["v"].Path, "big")
	if err := os.WriteFile(big, bytes.Repeat([]byte("x"), 1<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(big, big+"2"); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/", filepath.Join(vols["v"].Path, "link")); err != nil {
		t.Fatal(err)
	}
	tmp := mkdir(t, filepath.Join(vols["v"].Path, "mnt"))
	if err := unix.Mount("tmpfs", tmp, "tmpfs", 0, "size=2m"); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(tmp, "f"), string(bytes.Repeat([]byte("x"), 1<<20)))
	// Blocks of a new file are allocated late.
	unix.Sync()
	after, err := m.Usage(context.Background(), pod)
	if err != nil {
		t.Fatal(err)
	}
	if grown := after["v"].Bytes - before["v"].Bytes; grown < 1<<20 || grown > 1<<20+64<<10 {
		t.Errorf("grown by %d", grown)
	}
	// The file with two links, the symbolic link; what is mounted counts elsewhere.
	if grown := after["v"].Inodes - before["v"].Inodes; grown != 2 {
		t.Errorf("%d inodes more", grown)
	}
	if after["empty"] != before["empty"] {
		t.Errorf("the other volume: %d, then %d", before["empty"], after["empty"])
	}
	teardown(t, m, pod)
}
