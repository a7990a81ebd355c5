// SPDX-License-Identifier: Apache-2.0

package volumes

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
)

// NFS is a directory of an NFS server.
type NFS struct {
	Server, Path string
	ReadOnly     bool
	// Options are mount options as mount(8) has them.
	Options []string
}

// nfs is a directory that the kernel's client mounts below Pod.Dir. Whoever touches the
// mount of a server that does not answer is stuck in the kernel: so nothing here looks
// into one, and what may be stuck runs beside the caller, who has a timeout. Only that
// is kept in memory.
type nfs struct {
	kernel nfsKernel
	// patience is how long mounting, and unmounting in peace, may take.
	patience time.Duration

	mu    sync.Mutex
	stuck map[string]bool // paths at which an attempt to mount goes on
}

// nfsKernel does what may take for ever, or for as long as a server takes.
type nfsKernel interface {
	// mount gives a file descriptor of a mount that is attached nowhere.
	mount(ctx context.Context, source NFS) (int, error)
	unmount(path string, flags int) error
}

const nfsPatience = 30 * time.Second

func newNFS() *nfs {
	return &nfs{kernel: nfsClient{}, patience: nfsPatience, stuck: make(map[string]bool)}
}

func (*nfs) source() string            { return "nfs" }
func (*nfs) dir() string               { return "kubernetes.io~nfs" }
func (*nfs) check(corev1.Volume) error { return nil }

func (n *nfs) path(pod Pod, name string) string {
	return filepath.Join(pod.Dir, volumesDir, n.dir(), name)
}

func (n *nfs) preview(pod Pod, v corev1.Volume) (Volume, error) {
	return Volume{Path: n.path(pod, v.Name), ReadOnly: v.NFS.ReadOnly}, nil
}

func (n *nfs) setUp(ctx context.Context, pod Pod, v corev1.Volume) (Volume, error) {
	return n.attach(ctx, pod, v.Name, NFS{Server: v.NFS.Server, Path: v.NFS.Path, ReadOnly: v.NFS.ReadOnly})
}

// attach is setUp, for claims too.
func (n *nfs) attach(ctx context.Context, pod Pod, name string, source NFS) (Volume, error) {
	vol := Volume{Path: n.path(pod, name), ReadOnly: source.ReadOnly, Options: source.repeated()}
	if mounted, err := isMounted(vol.Path); err != nil || mounted {
		return vol, err
	}
	if err := os.MkdirAll(filepath.Dir(vol.Path), privateMode); err != nil {
		return Volume{}, err
	}
	if err := os.Mkdir(vol.Path, 0o750); err != nil && !errors.Is(err, fs.ErrExist) {
		return Volume{}, err
	}
	tree, err := n.mount(ctx, vol.Path, source)
	if err != nil {
		return Volume{}, fmt.Errorf("mount %s: %w", source.device(), err)
	}
	defer unix.Close(tree)
	err = withParent(vol.Path, func(name string) error {
		return unix.MoveMount(tree, "", unix.AT_FDCWD, name, unix.MOVE_MOUNT_F_EMPTY_PATH)
	})
	if err != nil {
		return Volume{}, fmt.Errorf("mount %s at %s: %w", source.device(), vol.Path, err)
	}
	return vol, nil
}

// mount waits for the kernel's mount as long as it may. One that comes too late goes.
func (n *nfs) mount(ctx context.Context, path string, source NFS) (int, error) {
	n.mu.Lock()
	busy := n.stuck[path]
	n.stuck[path] = true
	n.mu.Unlock()
	silent := fmt.Errorf("the server has not answered within %v", n.patience)
	if busy {
		return -1, silent
	}
	ctx, cancel := context.WithTimeoutCause(ctx, n.patience, silent)
	defer cancel()
	type result struct {
		tree int
		err  error
	}
	done := make(chan result)
	go func() {
		tree, err := n.kernel.mount(ctx, source)
		n.mu.Lock()
		delete(n.stuck, path)
		n.mu.Unlock()
		select {
		case done <- result{tree, err}:
		case <-ctx.Done():
			if err == nil {
				_ = unix.Close(tree)
			}
		}
	}()
	select {
	case r := <-done:
		return r.tree, r.err
	case <-ctx.Done():
		return -1, context.Cause(ctx)
	}
}

// tearDown unmounts. When that takes too long, since what was written cannot be brought
// to the server, what waits for the server is made to fail, and the mount is taken away
// although it is in use.
func (n *nfs) tearDown(ctx context.Context, pod Pod, name string) error {
	path := n.path(pod, name)
	mounted, err := isMounted(path)
	if err != nil {
		return err
	}
	if mounted {
		if err := n.unmount(ctx, path); err != nil {
			return err
		}
	}
	return removeAll(ctx, path)
}

func (n *nfs) unmount(ctx context.Context, path string) error {
	done := make(chan error, 1)
	go func() { done <- n.kernel.unmount(path, 0) }()
	timer := time.NewTimer(n.patience)
	defer timer.Stop()
	select {
	case err := <-done:
		if errors.Is(err, unix.EBUSY) {
			return fmt.Errorf("unmount %s: %w: a process outside the pod still uses it", path, err)
		}
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
	}
	// The first only aborts what waits; it fails while the mount is in use.
	if err := n.kernel.unmount(path, unix.MNT_FORCE); err != nil && !errors.Is(err, unix.EBUSY) {
		return fmt.Errorf("unmount %s by force: %w", path, err)
	}
	return n.kernel.unmount(path, unix.MNT_DETACH)
}

// usage: the directory is the server's.
func (*nfs) usage(context.Context, Pod, string) (Usage, error) { return Usage{}, nil }

// isMounted tells whether something is mounted at path, without touching it.
func isMounted(path string) (bool, error) {
	infos, err := mountinfo.GetMounts(mountinfo.SingleEntryFilter(path))
	return len(infos) > 0, err
}

// repeated are the options that are a mount's and not the file system's.
func (s NFS) repeated() string {
	var out []string
	for _, option := range s.Options {
		if mountAttributes[option] != 0 {
			out = append(out, option)
		}
	}
	return strings.Join(out, ",")
}

// device is the source as the kernel wants it.
func (s NFS) device() string {
	server := s.Server
	if strings.Contains(server, ":") {
		server = "[" + server + "]"
	}
	return server + ":" + s.Path
}
