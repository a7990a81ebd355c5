// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
)

// silence mounts a file system at dir on which nothing is ever answered, as one of NFS
// whose server is gone: FUSE without a daemon. The result ends it; who waits then gets
// an error.
func silence(t *testing.T, dir string) (end func()) {
	t.Helper()
	fuse, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("no FUSE here: %v", err)
	}
	options := fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0", fuse.Fd())
	if err := unix.Mount("fuse", dir, "fuse", unix.MS_NOSUID|unix.MS_NODEV, options); err != nil {
		t.Fatal(err)
	}
	end = sync.OnceFunc(func() {
		fuse.Close()
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(end)
	return end
}

// hanging are more Pods than the node makes containers at a time, all with the volume.
func (n *node) hanging(dir string) []string {
	var names []string
	for i := range 4 {
		name := fmt.Sprint("hangs", i)
		n.create(podOf(name, "volumes: [{name: v, hostPath: {path: "+dir+"}}]", apps(sh("app", forever, onV))))
		names = append(names, name)
	}
	return names
}

// TestAMountThatHangs: its Pods wait, no other Pod does, nor does a new agent; they start
// when the file system is back.
func TestAMountThatHangs(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	sub := filepath.Join(dir, "sub")
	if err := os.MkdirAll(sub, 0o755); err != nil {
		t.Fatal(err)
	}
	end := silence(t, dir)
	n := startNode(t)
	names := n.hanging(sub)
	n.create(podOf("other", apps(sh("app", forever))))
	n.awaitRunning("other")
	n.kill()
	n.start()
	n.create(podOf("late", apps(sh("app", forever))))
	n.awaitRunning("late")
	for _, name := range names {
		if p := n.pods()[name]; p.Status.Phase != corev1.PodPending {
			t.Errorf("%s is %s", name, p.Status.Phase)
		}
	}
	end()
	for _, name := range names {
		n.awaitRunning(name)
	}
}

// TestAMountHangsUnderRestarts: containers that cannot be made again keep no other
// container from being made.
func TestAMountHangsUnderRestarts(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	sub := filepath.Join(dir, "sub")
	if err := os.MkdirAll(sub, 0o755); err != nil {
		t.Fatal(err)
	}
	n := startNode(t)
	names := n.hanging(sub)
	for _, name := range names {
		n.awaitRunning(name)
	}
	end := silence(t, dir)
	for _, name := range names {
		n.killContainer(n.pods()[name], "app")
	}
	for _, name := range names {
		n.awaitPod(name, "its container ended", func(p *corev1.Pod) bool { return !running(p, "app", 0) })
	}
	n.create(podOf("other", apps(sh("app", forever))))
	n.awaitRunning("other")
	for _, name := range names { // it did not have to wait until one was given up
		if events := n.events(name); slices.ContainsFunc(events, func(e string) bool { return strings.HasPrefix(e, "Failed: Error: failed to create") }) {
			t.Errorf("%s: %s", name, strings.Join(events, "\n"))
		}
	}
	end()
	for _, name := range names {
		n.awaitPod(name, "its container runs again", func(p *corev1.Pod) bool { return running(p, "app", 1) })
	}
}
