// SPDX-License-Identifier: Apache-2.0

package volumes

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"pgregory.net/rapid"
)

func subPath(t *testing.T, m *Manager, pod Pod, vols Volumes, sub string) (string, error) {
	t.Helper()
	mounts, err := m.Mounts(context.Background(), pod, "c", vols, []corev1.VolumeMount{{Name: "v", MountPath: "/v", SubPath: sub}})
	if err != nil {
		return "", err
	}
	return mounts[0].Source, nil
}

func TestSubPath(t *testing.T) {
	needRoot(t)
	old := unix.Umask(0o077)
	defer unix.Umask(old)
	m, pod := New(Config{}), newPod(t, "pod")
	vols := setup(t, m, pod, disk("v"))
	root := vols["v"].Path

	src, err := subPath(t, m, pod, vols, "a/b")
	if err != nil {
		t.Fatal(err)
	}
	if want := filepath.Join(pod.Dir, "volume-subpaths/v/c/0"); src != want {
		t.Errorf("pinned at %s, want %s", src, want)
	}
	for _, p := range []string{"a", "a/b"} {
		if info, err := os.Stat(filepath.Join(root, p)); err != nil || info.Mode().Perm() != 0o777 {
			t.Errorf("%s: %v %v", p, info, err)
		}
	}
	write(t, filepath.Join(src, "f"), "x")
	if read(t, filepath.Join(root, "a/b/f")) != "x" {
		t.Error("another directory")
	}

	// Again: the same pin. Replaced meanwhile: the new one.
	again, err := subPath(t, m, pod, vols, "a/b")
	if err != nil || again != src || len(mountsBelow(t, src)) != 1 {
		t.Errorf("again: %s, %v, %v", again, err, mountsBelow(t, src))
	}
	if err := os.Rename(filepath.Join(root, "a/b"), filepath.Join(root, "a/old")); err != nil {
		t.Fatal(err)
	}
	if _, err = subPath(t, m, pod, vols, "a/b"); err != nil || exists(filepath.Join(src, "f")) || !exists(filepath.Join(root, "a/old/f")) {
		t.Errorf("replaced: %v", err)
	}

	// A file in place of the directory, and a link that stays inside.
	if src, err = subPath(t, m, pod, vols, "a/old/f"); err != nil || read(t, src) != "x" {
		t.Errorf("file: %v", err)
	}
	if err := os.Symlink("a/old", filepath.Join(root, "in")); err != nil {
		t.Fatal(err)
	}
	if src, err = subPath(t, m, pod, vols, "in/f"); err != nil || read(t, src) != "x" {
		t.Errorf("link: %v", err)
	}
	_, err = subPath(t, m, pod, vols, "a/old/f/below")
	wantError(t, err, "volumeMounts[0].subPath", "not a directory")
	teardown(t, m, pod)
}

func TestSubPathOfFile(t *testing.T) {
	needRoot(t)
	file := filepath.Join(t.TempDir(), "file")
	write(t, file, "")
	m, pod := New(Config{}), newPod(t, "pod")
	_, err := subPath(t, m, pod, setup(t, m, pod, host("v", file, "File")), "x")
	wantError(t, err, "volumeMounts[0].subPath: "+file+" is not a directory")
}

// TestSubPathEscape builds volumes full of links and asks for any path: what
// is pinned lies in the volume, and nothing outside is made.
func TestSubPathEscape(t *testing.T) {
	needRoot(t)
	m := New(Config{})
	pod := newPod(t, "pod")
	victim := mkdir(t, filepath.Join(t.TempDir(), "victim"))
	write(t, filepath.Join(victim, "f"), "precious")
	pinned := 0
	rapid.Check(t, func(rt *rapid.T) {
		defer teardown(t, m, pod)
		vols := setup(t, m, pod, disk("v"))
		root := vols["v"].Path
		targets := []string{victim, victim + "/f", "/", "..", "../../..", ".", "a", "b/c", "/proc/self/root", "/proc/self/cwd", "../v", "nowhere/x"}
		for range rapid.IntRange(0, 8).Draw(rt, "entries") {
			name := filepath.Join(root, rapid.StringMatching(`[abc](/[abc])?`).Draw(rt, "name"))
			if filepath.Dir(name) != root {
				if info, err := os.Lstat(filepath.Dir(name)); err != nil || !info.IsDir() {
					continue
				}
			}
			switch rapid.IntRange(0, 2).Draw(rt, "kind") {
			case 0:
				os.Mkdir(name, 0o755)
			case 1:
				os.Symlink(rapid.SampledFrom(targets).Draw(rt, "target"), name)
			case 2:
				os.WriteFile(name, nil, 0o644)
			}
		}
		sub := rapid.StringMatching(`[abc.]{1,2}(/[abc.]{1,2}){0,3}/?`).Draw(rt, "subPath")
		src, err := subPath(t, m, pod, vols, sub)
		if left, _ := os.ReadDir(victim); len(left) != 1 {
			rt.Fatalf("subPath %q made %v outside", sub, left)
		}
		if err != nil {
			return
		}
		pinned++
		if info, err := os.Stat(src); err != nil || !contains(root, info) {
			rt.Fatalf("subPath %q leads out of the volume: %v", sub, err)
		}
	})
	if pinned == 0 {
		t.Error("no sub-path was ever accepted")
	}
}

// contains tells whether the object is one of those below root. Nothing may
// change there meanwhile.
func contains(root string, want fs.FileInfo) bool {
	found := false
	filepath.WalkDir(root, func(_ string, d fs.DirEntry, err error) error {
		if err == nil {
			if info, err := d.Info(); err == nil {
				found = found || os.SameFile(info, want)
			}
		}
		return nil
	})
	return found
}

// A writer that swaps a directory and a link while the sub-path is looked up
// does not get out either.
func TestSubPathRace(t *testing.T) {
	needRoot(t)
	m, pod := New(Config{}), newPod(t, "pod")
	vols := setup(t, m, pod, disk("v"))
	root := vols["v"].Path
	victim := mkdir(t, filepath.Join(t.TempDir(), "victim"))
	mkdir(t, filepath.Join(victim, "y"))
	mkdir(t, filepath.Join(root, "x/y"))
	if err := os.Symlink(victim, filepath.Join(root, "link")); err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
				unix.Renameat2(unix.AT_FDCWD, root+"/x", unix.AT_FDCWD, root+"/link", unix.RENAME_EXCHANGE)
			}
		}
	}()
	outcomes := map[string]int{}
	var pins []fs.FileInfo
	for i := range 300 {
		src, err := subPath(t, m, pod, vols, fmt.Sprintf("x/y/z%d", i%3))
		switch {
		case err == nil:
			outcomes["pinned"]++
			info, err := os.Stat(src)
			if err != nil {
				t.Fatal(err)
			}
			pins = append(pins, info)
		case strings.Contains(err.Error(), "leads out"):
			outcomes["refused"]++
		default:
			outcomes["other"]++
		}
	}
	close(stop)
	<-done
	t.Log(outcomes)
	for _, pin := range pins {
		if !contains(root, pin) {
			t.Fatalf("%s led out of the volume", pin.Name())
		}
	}
	if left, _ := os.ReadDir(filepath.Join(victim, "y")); len(left) > 0 {
		t.Errorf("made outside: %v", left)
	}
	teardown(t, m, pod)
}
