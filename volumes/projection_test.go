// SPDX-License-Identifier: Apache-2.0

package volumes

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
)

func text(pairs ...string) Files {
	f := Files{}
	for i := 0; i < len(pairs); i += 2 {
		f[pairs[i]] = File{Data: []byte(pairs[i+1]), Mode: 0o644}
	}
	return f
}

// eachProjection runs a test on every type whose files the agent writes.
func eachProjection(t *testing.T, run func(t *testing.T, m *Manager, pod Pod, v corev1.Volume)) {
	needRoot(t)
	for _, source := range []string{"configMap", "secret", "downwardAPI", "projected"} {
		t.Run(source, func(t *testing.T) {
			m, pod := New(Config{}), newPod(t, "pod")
			run(t, m, pod, projectedOf("v", source))
			teardown(t, m, pod)
		})
	}
}

// seen has what a reader sees, by path.
func seen(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	top, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range top {
		if strings.HasPrefix(e.Name(), "..") {
			continue
		}
		real, err := filepath.EvalSymlinks(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		err = filepath.WalkDir(real, func(path string, d os.DirEntry, err error) error {
			if err == nil && !d.IsDir() {
				out[filepath.Join(e.Name(), strings.TrimPrefix(path, real))] = read(t, path)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// TestProjectionFollowsItsFiles: files come, change and go, in directories too,
// and nothing of a former version stays.
func TestProjectionFollowsItsFiles(t *testing.T) {
	eachProjection(t, func(t *testing.T, m *Manager, pod Pod, v corev1.Volume) {
		versions := []Files{
			text("a", "1", "dir/b", "2", "dir/deep/c", "3"),
			text("a", "1", "dir/b", "2", "dir/deep/c", "3"),
			text("a", "other", "dir/b", "2"),
			text("a/now/a/directory", "4"),
			{},
			text("dir", "now a file", "./e", "cleaned"),
		}
		for i, files := range versions {
			pod.Files["v"] = files
			dir := setup(t, m, pod, v)["v"].Path
			want := map[string]string{}
			for name, f := range files {
				want[filepath.Clean(name)] = string(f.Data)
			}
			if got := seen(t, dir); !maps.Equal(got, want) {
				t.Errorf("version %d: %v, want %v", i, got, want)
			}
			stamped := 0
			top, _ := os.ReadDir(dir)
			for _, e := range top {
				if strings.HasPrefix(e.Name(), "..2") {
					stamped++
				}
			}
			if stamped != 1 {
				t.Errorf("version %d: %d stamped directories", i, stamped)
			}
		}
	})
}

func TestProjectionWritesOnlyChanges(t *testing.T) {
	eachProjection(t, func(t *testing.T, m *Manager, pod Pod, v corev1.Volume) {
		pod.Files["v"] = text("a", "1", "b", "2")
		dir := setup(t, m, pod, v)["v"].Path
		before, _ := os.Readlink(filepath.Join(dir, dataLink))
		setup(t, New(Config{}), pod, v)
		if now, _ := os.Readlink(filepath.Join(dir, dataLink)); now != before {
			t.Errorf("%s became %s without a change", before, now)
		}
		pod.Files["v"] = text("a", "1", "b", "3")
		setup(t, m, pod, v)
		if now, _ := os.Readlink(filepath.Join(dir, dataLink)); now == before {
			t.Error("a change was not written")
		}
	})
}

// TestProjectionIsNeverHalfVisible reads two files through one open directory
// while they change together.
func TestProjectionIsNeverHalfVisible(t *testing.T) {
	eachProjection(t, func(t *testing.T, m *Manager, pod Pod, v corev1.Volume) {
		pod.Files["v"] = text("a", "0", "b", "0")
		dir := setup(t, m, pod, v)["v"].Path
		done := make(chan struct{})
		go func() {
			defer close(done)
			for i := range 200 {
				pod.Files["v"] = text("a", fmt.Sprint(i), "b", fmt.Sprint(i))
				if _, err := m.Setup(context.Background(), pod, []corev1.Volume{v}); err != nil {
					t.Error(err)
					return
				}
			}
		}()
		defer func() { <-done }()
		for open := true; open; {
			select {
			case <-done:
				open = false
			default:
			}
			if _, err := os.Readlink(filepath.Join(dir, dataLink)); err != nil {
				t.Fatalf("..data is not there at all times: %v", err)
			}
			fd, err := unix.Open(filepath.Join(dir, dataLink), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
			if errors.Is(err, unix.ENOENT) {
				continue // the link was followed to a directory that went just then
			}
			if err != nil {
				t.Fatal(err)
			}
			a, errA := os.ReadFile(fdPath(fd) + "/a")
			b, errB := os.ReadFile(fdPath(fd) + "/b")
			unix.Close(fd)
			if errA == nil && errB == nil && string(a) != string(b) {
				t.Fatalf("a is of version %s, b of %s", a, b)
			}
		}
	})
}

// TestProjectionGoesOnAfterACrash puts a volume into each state that a crash may
// leave.
func TestProjectionGoesOnAfterACrash(t *testing.T) {
	crashes := map[string]func(t *testing.T, dir string){
		"before the volume is made": func(t *testing.T, dir string) {
			if err := os.RemoveAll(dir); err != nil {
				t.Fatal(err)
			}
			mkdir(t, dir+newSuffix)
		},
		"while writing": func(t *testing.T, dir string) {
			write(t, filepath.Join(mkdir(t, filepath.Join(dir, "..2001_01_01_00_00_00.000000000")), "a"), "ha")
		},
		"before the swap": func(t *testing.T, dir string) {
			mkdir(t, filepath.Join(dir, "..2001_01_01_00_00_00.000000000"))
			if err := os.Symlink("..2001_01_01_00_00_00.000000000", filepath.Join(dir, dataLinkNew)); err != nil {
				t.Fatal(err)
			}
		},
		"before the links": func(t *testing.T, dir string) {
			if err := os.Remove(filepath.Join(dir, "b")); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(dataLink+"/former", filepath.Join(dir, "former")); err != nil {
				t.Fatal(err)
			}
		},
	}
	for name, crash := range crashes {
		for _, next := range []Files{text("a", "1", "b", "2"), text("b", "3")} {
			t.Run(name, func(t *testing.T) {
				eachProjection(t, func(t *testing.T, m *Manager, pod Pod, v corev1.Volume) {
					pod.Files["v"] = text("a", "1", "b", "2")
					dir := setup(t, m, pod, v)["v"].Path
					crash(t, dir)
					pod.Files["v"] = next
					setup(t, New(Config{}), pod, v)
					if mounts := mountsBelow(t, pod.Dir); len(mounts) != 1 {
						t.Errorf("mounted: %v", mounts)
					}
					want := map[string]string{}
					for name, f := range next {
						want[name] = string(f.Data)
					}
					if got := seen(t, dir); !maps.Equal(got, want) {
						t.Errorf("%v, want %v", got, want)
					}
					if top, _ := os.ReadDir(dir); len(top) != 2+len(next) {
						t.Errorf("left over: %v", top)
					}
				})
			})
		}
	}
}

func TestProjectionRights(t *testing.T) {
	eachProjection(t, func(t *testing.T, m *Manager, pod Pod, v corev1.Volume) {
		old := unix.Umask(0o077)
		defer unix.Umask(old)
		pod.Files["v"] = Files{
			"plain": {Mode: 0o644}, "dir/private": {Mode: 0o400}, "program": {Mode: 0o755},
			"token": {Mode: 0o600, Owner: ptr[int64](1234)},
		}
		stat := func(name string) string {
			t.Helper()
			var st unix.Stat_t
			if err := unix.Lstat(filepath.Join(pod.Dir, volumesDir, name), &st); err != nil {
				t.Fatal(err)
			}
			return fmt.Sprintf("%o %d:%d", st.Mode&0o7777, st.Uid, st.Gid)
		}
		for _, group := range []*int64{nil, ptr[int64](2000)} {
			pod.FSGroup = group
			path := setup(t, m, pod, v)["v"].Path
			rel, _ := filepath.Rel(filepath.Join(pod.Dir, volumesDir), path)
			got := []string{stat(rel)}
			for _, name := range []string{"..data/dir", "..data/plain", "..data/dir/private", "..data/program", "..data/token"} {
				got = append(got, stat(filepath.Join(rel, name)))
			}
			want := []string{"777 0:0", "755 0:0", "644 0:0", "400 0:0", "755 0:0", "600 1234:0"}
			if group != nil {
				want = []string{"2777 0:2000", "2755 0:2000", "644 0:2000", "440 0:2000", "755 0:2000", "640 1234:2000"}
			}
			if !slices.Equal(got, want) {
				t.Errorf("fsGroup %v: %v, want %v", group != nil, got, want)
			}
			teardown(t, m, pod)
		}
	})
}

// TestProjectionsAreInMemory: volumes of one type in one tmpfs, which never goes to a
// swap device but for configMaps, and where nobody else can come. Pods with users of
// their own have configMaps on disk.
func TestProjectionsAreInMemory(t *testing.T) {
	probe := mkdir(t, filepath.Join(t.TempDir(), "probe"))
	noswap := unix.Mount("tmpfs", probe, "tmpfs", 0, "noswap") == nil // Linux 6.4
	if noswap {
		t.Cleanup(func() { unix.Unmount(probe, unix.MNT_DETACH) })
	}
	for _, ownUsers := range []bool{false, true} {
		eachProjection(t, func(t *testing.T, m *Manager, pod Pod, v corev1.Volume) {
			pod.OwnUsers = ownUsers
			onDisk := ownUsers && v.ConfigMap != nil
			other := v
			other.Name = "other"
			pod.Files["other"] = text("key", "value")
			vols := setup(t, m, pod, v, other)
			if mounts := mountsBelow(t, pod.Dir); (len(mounts) == 0) != onDisk || len(mounts) > 1 {
				t.Errorf("mounted: %v", mounts)
			}
			for _, vol := range vols {
				info, err := mountOf(vol.Path)
				if err != nil {
					t.Fatal(err)
				}
				kept := slices.Contains(strings.Split(info.VFSOptions, ","), "noswap")
				if !onDisk && (info.FSType != "tmpfs" || kept != (noswap && v.ConfigMap == nil)) {
					t.Errorf("%s is on %s (%s)", vol.Path, info.FSType, info.VFSOptions)
				}
				for dir := filepath.Dir(vol.Path); dir != pod.Dir; dir = filepath.Dir(dir) {
					if info, err := os.Stat(dir); err != nil || info.Mode().Perm()&0o007 != 0 {
						t.Errorf("others may look into %s: %v, %v", dir, info.Mode(), err)
					}
				}
			}
		})
	}
}

func TestProjectionRefusesPaths(t *testing.T) {
	outside := t.TempDir()
	long := strings.Repeat("x", 256)
	for name, want := range map[string]string{
		"":                  "must not be empty",
		"/etc/passwd":       "must be relative path",
		"../up":             "must not contain '..'",
		"a/../../up":        "must not contain '..'",
		"a/..":              "must not contain '..'",
		"..data":            "must not start with '..'",
		"..data/x":          "must not start with '..'",
		".":                 "names no file",
		long:                "less than or equal to 255",
		"a/" + long:         "less than or equal to 255",
		"a\x00b":            "zero byte",
		outside + "/escape": "must be relative path",
	} {
		pod := newPod(t, "pod")
		pod.Files["v"] = Files{name: {Data: []byte("x"), Mode: 0o644}}
		_, err := New(Config{}).Setup(context.Background(), pod, []corev1.Volume{projectedOf("v", "configMap")})
		wantError(t, err, `MountVolume.SetUp failed for volume "v" : invalid path: `, want)
	}
	big := Files{}
	for i := range 33 {
		big[fmt.Sprint(i)] = File{Data: make([]byte, 1<<20)}
	}
	wantError(t, big.check(), "bytes are more than")
	many := Files{}
	for i := range maxProjectedFiles + 1 {
		many[fmt.Sprint(i)] = File{}
	}
	wantError(t, many.check(), "files are more than")
}

// TestProjectionDoesNotFollowLinks: whatever somebody put into the volume, nothing
// outside is written or removed.
func TestProjectionDoesNotFollowLinks(t *testing.T) {
	eachProjection(t, func(t *testing.T, m *Manager, pod Pod, v corev1.Volume) {
		victim := mkdir(t, filepath.Join(t.TempDir(), "victim"))
		write(t, filepath.Join(victim, "key"), "precious")
		dir := setup(t, m, pod, v)["v"].Path
		for _, name := range []string{"key", dataLinkNew, "..2001"} {
			os.Remove(filepath.Join(dir, name))
			if err := os.Symlink(victim, filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Remove(filepath.Join(dir, dataLink)); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(victim, filepath.Join(dir, dataLink)); err != nil {
			t.Fatal(err)
		}
		pod.Files["v"] = text("key", "overwritten", "other", "x")
		_, err := m.Setup(context.Background(), pod, []corev1.Volume{v})
		left, _ := os.ReadDir(victim)
		if read(t, filepath.Join(victim, "key")) != "precious" || len(left) != 1 {
			t.Errorf("reached out of the volume (%v): %v", err, left)
		}
	})
}

// TestProjectionSubPaths: a sub-path stays as it was made, and the container's
// next attempt gets the newest.
func TestProjectionSubPaths(t *testing.T) {
	eachProjection(t, func(t *testing.T, m *Manager, pod Pod, v corev1.Volume) {
		mount := func() (string, []string) {
			mounts, err := m.Mounts(context.Background(), pod, "c", setup(t, m, pod, v), []corev1.VolumeMount{{Name: "v", MountPath: "/f", SubPath: "key"}})
			if err != nil {
				t.Fatal(err)
			}
			return mounts[0].Source, mounts[0].Options
		}
		source, options := mount()
		if !slices.Contains(options, "ro") {
			t.Errorf("a sub-path of it can be written to: %v", options)
		}
		pod.Files["v"] = text("key", "newer")
		setup(t, m, pod, v)
		if got := read(t, source); got != "value" {
			t.Errorf("the sub-path changed to %q under the container", got)
		}
		if source, _ = mount(); read(t, source) != "newer" {
			t.Errorf("the next attempt reads %q", read(t, source))
		}
	})
}

func TestProjectionKeepsWhatItHas(t *testing.T) {
	eachProjection(t, func(t *testing.T, m *Manager, pod Pod, v corev1.Volume) {
		files := pod.Files
		pod.Files = nil
		if _, err := m.Setup(context.Background(), pod, []corev1.Volume{v}); err == nil || m.Written(pod, v) {
			t.Errorf("a volume without files was set up: %v", err)
		}
		pod.Files = files
		path := setup(t, m, pod, v)["v"].Path
		pod.Files = nil
		if again := setup(t, m, pod, v)["v"].Path; again != path || !m.Written(pod, v) || read(t, path+"/key") != "value" {
			t.Errorf("the volume at %s was not kept", again)
		}
	})
}

// TestProjectionHasPlacesForOtherVolumes, which a read-only mount needs beforehand.
func TestProjectionHasPlacesForOtherVolumes(t *testing.T) {
	eachProjection(t, func(t *testing.T, m *Manager, pod Pod, v corev1.Volume) {
		pod.Nested = map[string][]string{"v": {"sub/dir", "key", "../out", "..data/x"}}
		dir := setup(t, m, pod, v)["v"].Path
		for range 2 {
			if info, err := os.Stat(filepath.Join(dir, "sub/dir")); err != nil || !info.IsDir() {
				t.Errorf("no place: %v", err)
			}
			if read(t, filepath.Join(dir, "key")) != "value" || exists(filepath.Join(dir, "..data/x")) || exists(filepath.Join(dir, "../out")) {
				t.Error("a place took the place of something else")
			}
			pod.Files["v"] = text("key", "value", "more", fmt.Sprint(time.Now()))
			setup(t, m, pod, v)
		}
	})
}

// FuzzFilePath: whatever path is let through, its file lies in the volume.
func FuzzFilePath(f *testing.F) {
	for _, s := range []string{"a", "a/b", "../a", "/a", "a/./b", "a//b", "..a", ".a", "a/..b", "a/.", "./..data"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if checkFilePath(name) != nil {
			return
		}
		clean := filepath.Clean(name)
		if !filepath.IsLocal(clean) || clean == "." || strings.HasPrefix(clean, "..") {
			t.Errorf("%q is let through as %q", name, clean)
		}
	})
}
