// SPDX-License-Identifier: Apache-2.0

package volumes

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
)

func TestHostPathTypes(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	mkdir(t, filepath.Join(dir, "dir"))
	write(t, filepath.Join(dir, "file"), "")
	l, err := net.Listen("unix", filepath.Join(dir, "sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := unix.Mknod(filepath.Join(dir, "block"), unix.S_IFBLK|0o600, int(unix.Mkdev(7, 200))); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/dev/null", filepath.Join(dir, "char")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("dir", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	// For each type the names that pass; every other name fails with the
	// word.
	names := []string{"dir", "link", "file", "sock", "block", "char", "none", "file/below"}
	for _, c := range []struct {
		typ  corev1.HostPathType
		word string
		pass []string
	}{
		{corev1.HostPathDirectory, "directory", []string{"dir", "link"}},
		{corev1.HostPathFile, "file", []string{"file"}},
		{corev1.HostPathSocket, "socket file", []string{"sock"}},
		{corev1.HostPathBlockDev, "block device", []string{"block"}},
		{corev1.HostPathCharDev, "character device", []string{"char"}},
	} {
		for _, name := range names {
			path := filepath.Join(dir, name)
			v, err := New(Config{}).Setup(context.Background(), newPod(t, "pod"), []corev1.Volume{host("v", path, c.typ)})
			pass := false
			for _, p := range c.pass {
				pass = pass || p == name
			}
			if !pass {
				wantError(t, err, `MountVolume.SetUp failed for volume "v" : hostPath`, "hostPath type check failed: "+path+" is not a "+c.word)
				continue
			}
			if err != nil {
				t.Errorf("%s as %s: %v", name, c.typ, err)
				continue
			}
			want, _ := filepath.EvalSymlinks(path)
			if v["v"].Path != want || v["v"].File != (c.typ != corev1.HostPathDirectory) {
				t.Errorf("%s as %s: %+v", name, c.typ, v["v"])
			}
		}
	}
}

func TestHostPathCreate(t *testing.T) {
	needRoot(t)
	old := unix.Umask(0o077)
	defer unix.Umask(old)
	dir := t.TempDir()
	m := New(Config{})
	for _, c := range []struct {
		path string
		typ  corev1.HostPathType
		mode os.FileMode
	}{
		{"a/b", corev1.HostPathDirectoryOrCreate, os.ModeDir | 0o755},
		{"c/d", corev1.HostPathUnset, os.ModeDir | 0o755},
		{"f", corev1.HostPathFileOrCreate, 0o644},
	} {
		for range 2 {
			setup(t, m, newPod(t, "pod"), host("v", filepath.Join(dir, c.path), c.typ))
		}
		info, err := os.Stat(filepath.Join(dir, c.path))
		if err != nil || info.Mode() != c.mode {
			t.Errorf("%s: %v, %v, want %v", c.path, info, err, c.mode)
		}
	}
	_, err := m.Setup(context.Background(), newPod(t, "pod"), []corev1.Volume{host("v", filepath.Join(dir, "no/f"), corev1.HostPathFileOrCreate)})
	wantError(t, err, `failed for volume "v" : `, "no such file")
	_, err = m.Setup(context.Background(), newPod(t, "pod"), []corev1.Volume{host("v", filepath.Join(dir, "f"), corev1.HostPathDirectoryOrCreate)})
	wantError(t, err, "is not a directory")
}

func TestAllowedHostPaths(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	for _, d := range []string{"ok/sub", "okay", "secret"} {
		mkdir(t, filepath.Join(dir, d))
	}
	for link, to := range map[string]string{"ok/out": "../secret", "in": "ok/sub", "ok/dangling": "../secret/new"} {
		if err := os.Symlink(to, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	m := New(Config{AllowedHostPaths: []string{filepath.Join(dir, "ok") + "/"}})
	for path, allowed := range map[string]bool{
		"ok": true, "ok/sub": true, "ok/new": true, "in": true, "in/new": true,
		"okay": false, "secret": false, "ok/out": false, "ok/out/new": false, "ok/dangling": false, "new": false, ".": false,
	} {
		p := filepath.Join(dir, path)
		had := exists(p)
		_, err := m.Setup(context.Background(), newPod(t, "pod"), []corev1.Volume{host("v", p, corev1.HostPathDirectoryOrCreate)})
		if (err == nil) != allowed {
			t.Errorf("%s: %v", path, err)
		}
		if !allowed && exists(p) != had {
			t.Errorf("%s: made although it is not allowed", path)
		}
	}
	if exists(filepath.Join(dir, "secret/new")) {
		t.Error("made a directory through a link")
	}
}

// A preview refuses what set-up refuses, and makes nothing.
func TestHostPathPreview(t *testing.T) {
	dir := t.TempDir()
	missing, file := filepath.Join(dir, "missing", "d"), filepath.Join(dir, "file")
	write(t, file, "")
	m := New(Config{AllowedHostPaths: []string{dir}})
	for _, c := range []struct {
		path string
		typ  corev1.HostPathType
		ok   bool
	}{
		{missing, corev1.HostPathUnset, true},
		{missing, corev1.HostPathDirectoryOrCreate, true},
		{missing, corev1.HostPathDirectory, false},
		{file, corev1.HostPathFile, true},
		{file, corev1.HostPathDirectoryOrCreate, false},
		{"/elsewhere", corev1.HostPathUnset, false},
	} {
		vols, err := m.Preview(Pod{Dir: "/nowhere"}, []corev1.Volume{host("v", c.path, c.typ)})
		if (err == nil) != c.ok || vols["v"].Path != c.path {
			t.Errorf("%s as %q: %v, %v", c.path, c.typ, vols["v"], err)
		}
	}
	if exists(filepath.Dir(missing)) {
		t.Error("the preview made a directory")
	}
}
