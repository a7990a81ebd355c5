// SPDX-License-Identifier: Apache-2.0

package stats

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	summary "k8s.io/kubelet/pkg/apis/stats/v1alpha1"

	"github.com/minikubelet/minikubelet/podmgr"
	"github.com/minikubelet/minikubelet/volumes"
)

const (
	// diskAge is how old sizes may be that take a walk through a tree, and also the
	// least time between two walks: the kubelet's period for volumes.
	diskAge = time.Minute
	// diskPatience is how long a request waits for a walk; what is not known by then
	// comes with a later request.
	diskPatience = time.Second
	// diskTime bounds one walk through everything.
	diskTime = 30 * time.Second
)

// size is what a tree of files takes.
type size struct {
	at            time.Time
	bytes, inodes uint64
}

// sizes has writable layers by container ID, and the volumes of Pods by UID.
type sizes struct {
	layers  map[string]size
	volumes map[string]map[string]size
	images  size
}

// disk keeps sizes. Walks are begun by requests alone, one at a time.
type disk struct {
	walk func(ctx context.Context, old sizes) sizes

	mu     sync.Mutex
	known  sizes
	at     time.Time // when the last walk ended
	walked chan struct{}
}

func (d *disk) init(walk func(context.Context, sizes) sizes) { d.walk = walk }

// get returns sizes, old ones when new ones take too long.
func (d *disk) get(ctx context.Context) sizes {
	d.mu.Lock()
	if d.walked == nil && time.Since(d.at) > diskAge {
		done := make(chan struct{})
		d.walked = done
		old := d.known
		go func() {
			bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), diskTime)
			defer cancel()
			found := d.walk(bounded, old)
			d.mu.Lock()
			d.known, d.at, d.walked = found, time.Now(), nil
			d.mu.Unlock()
			close(done)
		}()
	}
	walked := d.walked
	d.mu.Unlock()
	if walked != nil {
		select {
		case <-walked:
		case <-time.After(diskPatience):
		case <-ctx.Done():
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.known
}

// measure walks through what containers have written and through volumes. What
// cannot be measured in time keeps its old size; what is gone is dropped.
func (r *Reader) measure(ctx context.Context, old sizes) sizes {
	found := sizes{layers: make(map[string]size), volumes: make(map[string]map[string]size), images: old.images}
	for _, p := range r.pods() {
		for _, c := range p.containers {
			bytes, inodes, err := r.cfg.Runtime.LayerUsage(ctx, c.ID)
			if err == nil {
				found.layers[c.ID] = size{time.Now(), uint64(max(bytes, 0)), uint64(max(inodes, 0))}
			} else if s, ok := old.layers[c.ID]; ok {
				found.layers[c.ID] = s
			}
		}
		used, err := r.cfg.Volumes.Usage(ctx, volumes.Pod{UID: p.UID, Namespace: p.Namespace, Name: p.Name, Dir: filepath.Join(r.cfg.PodsDir, p.UID)})
		if err != nil {
			found.volumes[p.UID] = old.volumes[p.UID]
			continue
		}
		found.volumes[p.UID] = make(map[string]size, len(used))
		for name, u := range used {
			found.volumes[p.UID][name] = size{at: time.Now(), bytes: uint64(max(u.Bytes, 0)), inodes: uint64(max(u.Inodes, 0))}
		}
	}
	if list, err := r.cfg.Images.List(ctx); err == nil {
		found.images = size{at: time.Now()}
		seen := make(map[string]bool)
		for _, i := range list {
			if id := i.ID.String(); !seen[id] {
				seen[id] = true
				found.images.bytes += uint64(max(i.Size, 0))
			}
		}
	}
	return found
}

// logSize sums the files of a container's log directory: a few.
func (r *Reader) logSize(p pod, container string) (size, bool) {
	dir := filepath.Join(podmgr.LogDir(r.cfg.LogDir, p.object()), container)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return size{}, false
	}
	s := size{at: time.Now()}
	for _, e := range entries {
		if info, err := e.Info(); err == nil && info.Mode().IsRegular() {
			s.inodes++
			s.bytes += blocks(info)
		}
	}
	return s, true
}

func blocks(info fs.FileInfo) uint64 {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return uint64(st.Blocks) * 512
	}
	return uint64(info.Size())
}

// fileSystem tells how full the one below a directory is; nil when it cannot be
// told.
func fileSystem(dir string) *summary.FsStats {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return nil
	}
	unit := uint64(st.Frsize)
	capacity, available, used := st.Blocks*unit, st.Bavail*unit, (st.Blocks-st.Bfree)*unit
	inodes, free, inodesUsed := st.Files, st.Ffree, st.Files-st.Ffree
	return &summary.FsStats{
		Time: metav1.Now(), CapacityBytes: &capacity, AvailableBytes: &available, UsedBytes: &used,
		Inodes: &inodes, InodesFree: &free, InodesUsed: &inodesUsed,
	}
}

// within is a file system of which only what s says is used.
func within(of *summary.FsStats, s size) *summary.FsStats {
	out := &summary.FsStats{Time: metav1.NewTime(s.at), UsedBytes: &s.bytes}
	if s.inodes > 0 {
		out.InodesUsed = &s.inodes
	}
	if of != nil {
		out.CapacityBytes, out.AvailableBytes, out.Inodes, out.InodesFree = of.CapacityBytes, of.AvailableBytes, of.Inodes, of.InodesFree
	}
	return out
}
