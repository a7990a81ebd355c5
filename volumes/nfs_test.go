// SPDX-License-Identifier: Apache-2.0

package volumes

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
)

// fakeNFS mounts a tmpfs once its server answers.
type fakeNFS struct {
	answers  chan struct{} // closed: it does
	begun    chan struct{}
	mounts   atomic.Int32
	sources  chan NFS
	flushing chan struct{} // not nil: unmounting in peace waits for it
	mu       sync.Mutex
	flags    []int // of unmounting not in peace
}

func (f *fakeNFS) mount(_ context.Context, source NFS) (int, error) {
	f.mounts.Add(1)
	f.begun <- struct{}{}
	<-f.answers
	f.sources <- source
	fd, err := unix.Fsopen("tmpfs", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, err
	}
	defer unix.Close(fd)
	if err := unix.FsconfigCreate(fd); err != nil {
		return -1, err
	}
	return unix.Fsmount(fd, unix.FSMOUNT_CLOEXEC, 0)
}

func (f *fakeNFS) unmount(path string, flags int) error {
	if flags != 0 {
		f.mu.Lock()
		f.flags = append(f.flags, flags)
		f.mu.Unlock()
	}
	if flags == unix.MNT_FORCE {
		return unix.EBUSY
	}
	if flags == 0 && f.flushing != nil {
		<-f.flushing
		return unix.EIO
	}
	return unix.Unmount(path, flags)
}

func nfsVolume() corev1.Volume {
	return corev1.Volume{Name: "v", VolumeSource: corev1.VolumeSource{NFS: &corev1.NFSVolumeSource{Server: "s", Path: "/p", ReadOnly: true}}}
}

func newFakeNFS(t *testing.T, patience time.Duration) (*Manager, *fakeNFS) {
	t.Helper()
	needRoot(t)
	f := &fakeNFS{answers: make(chan struct{}), begun: make(chan struct{}, 9), sources: make(chan NFS, 9)}
	m := New(Config{})
	for _, kind := range m.types {
		if n, ok := kind.(*nfs); ok {
			n.kernel, n.patience = f, patience
		}
	}
	return m, f
}

// TestNFSIsMountedOnce by a Pod and by a claim, adopted, and unmounted.
func TestNFSIsMountedOnce(t *testing.T) {
	for name, v := range map[string]corev1.Volume{"pod": nfsVolume(), "claim": claimed()[0]} {
		m, f := newFakeNFS(t, time.Hour)
		close(f.answers)
		pod := newPod(t, name)
		want := NFS{Server: "s", Path: "/p", ReadOnly: true}
		if name == "claim" {
			want.Options = []string{"vers=4.1", "nosuid"}
			pod.Claims = map[string]Claim{"v": {NFS: &NFS{Server: "s", Path: "/p", Options: want.Options}, ReadOnly: true}}
		}
		first, again := setup(t, m, pod, v), setup(t, m, pod, v)
		if first["v"] != again["v"] || !first["v"].ReadOnly || f.mounts.Load() != 1 {
			t.Errorf("%s: %+v, then %+v, mounted %d times", name, first, again, f.mounts.Load())
		}
		if got := <-f.sources; fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: %+v", name, got)
		}
		mounts, err := m.Mounts(t.Context(), pod, "c", first, []corev1.VolumeMount{{Name: "v", MountPath: "/v"}})
		if err != nil || slices.Contains(mounts[0].Options, "nosuid") != (name == "claim") || !slices.Contains(mounts[0].Options, "ro") {
			t.Errorf("%s: %v, %v", name, mounts, err)
		}
		if len(mountsBelow(t, first["v"].Path)) != 1 {
			t.Errorf("%s: nothing is mounted", name)
		}
		if err := errors.Join(m.Teardown(t.Context(), pod), m.Teardown(t.Context(), pod)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if left, err := os.ReadDir(pod.Dir); err != nil || len(left) > 0 || len(mountsBelow(t, pod.Dir)) > 0 {
			t.Errorf("%s: left %v, %v", name, left, err)
		}
	}
}

// TestNFSServerThatDoesNotAnswer: nobody waits for it longer than said, it is asked
// once at a time, and a mount that comes too late is nowhere.
func TestNFSServerThatDoesNotAnswer(t *testing.T) {
	m, f := newFakeNFS(t, 50*time.Millisecond)
	pod := newPod(t, "pod")
	for range 3 {
		_, err := m.Setup(t.Context(), pod, []corev1.Volume{nfsVolume()})
		if err == nil || err.Error() != `MountVolume.SetUp failed for volume "v" : mount s:/p: the server has not answered within 50ms` {
			t.Errorf("%v", err)
		}
	}
	<-f.begun
	if n := f.mounts.Load(); n != 1 {
		t.Errorf("asked %d times at once", n)
	}
	if err := m.Teardown(t.Context(), pod); err != nil {
		t.Errorf("tear-down meanwhile: %v", err)
	}
	close(f.answers)
	<-f.sources
	for { // the late one's end is not told to anybody
		vols, err := m.Setup(t.Context(), pod, []corev1.Volume{nfsVolume()})
		if err == nil {
			if n := len(mountsBelow(t, vols["v"].Path)); n != 1 {
				t.Errorf("%d mounts", n)
			}
			break
		}
		if !strings.Contains(err.Error(), "has not answered") {
			t.Fatal(err)
		}
	}
	if err := m.Teardown(t.Context(), pod); err != nil {
		t.Error(err)
	}
}

// TestNFSIsTakenAwayByForce when what was written cannot be brought to the server.
func TestNFSIsTakenAwayByForce(t *testing.T) {
	m, f := newFakeNFS(t, 50*time.Millisecond)
	close(f.answers)
	pod := newPod(t, "pod")
	vols := setup(t, m, pod, nfsVolume())
	f.flushing = make(chan struct{})
	if err := m.Teardown(t.Context(), pod); err != nil {
		t.Error(err)
	}
	if want := []int{unix.MNT_FORCE, unix.MNT_DETACH}; !slices.Equal(f.flags, want) || len(mountsBelow(t, vols["v"].Path)) > 0 {
		t.Errorf("unmounted with %v, want %v", f.flags, want)
	}
	close(f.flushing)
}

func TestNFSOptions(t *testing.T) {
	for text, want := range map[string]string{
		"":                                    "[] 0 version false tcp 2049",
		"READONLY":                            "[ro] 1 version false tcp 2049",
		"ro,nosuid,nodev":                     "[ro] 7 version false tcp 2049",
		"rw,defaults,_netdev,vers=4.1,port=9": "[vers=4.1 port=9] 0 version true tcp 9",
		"nfsvers=3,nolock,soft,timeo=20":      "[nfsvers=3 nolock soft timeo=20] 0 version true tcp 2049",
		"v4.2,proto=tcp6":                     "[v4.2 proto=tcp6] 0 version true tcp 2049",
		"proto=rdma,minorversion=1":           "[proto=rdma minorversion=1] 0 version true  2049",
		"addr=1.2.3.4":                        `mount option "addr=1.2.3.4" is not one that can be given`,
		"source=x:/":                          `mount option "source=x:/" is not one that can be given`,
		"=x":                                  `mount option "=x" is not one that can be given`,
	} {
		var source NFS
		if source.ReadOnly = text == "READONLY"; !source.ReadOnly && text != "" {
			source.Options = strings.Split(text, ",")
		}
		o, err := readNFSOptions(source)
		tcp := ""
		if o.tcp {
			tcp = "tcp"
		}
		got := fmt.Sprintf("%v %d version %v %s %s", o.kernel, o.attributes, o.hasVersion, tcp, o.port)
		if err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
	if got := (NFS{Server: "fe80::1", Path: "/p"}).device(); got != "[fe80::1]:/p" {
		t.Error(got)
	}
}

func TestNFSServersThatAreNotThere(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	o := nfsOptions{tcp: true, port: port}
	if address, err := reach(t.Context(), "localhost", o); err != nil || address != "127.0.0.1" {
		t.Errorf("%q, %v", address, err)
	}
	l.Close()
	if _, err := reach(t.Context(), "127.0.0.1", o); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("nobody listens: %v", err)
	}
	if _, err := reach(t.Context(), "no such name", o); err == nil {
		t.Error("no such name")
	}
}
