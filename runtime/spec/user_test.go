// SPDX-License-Identifier: Apache-2.0

package spec

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"
)

func testFiles() *UserFiles {
	return &UserFiles{
		Passwd: []byte("root:x:0:0:root:/root:/bin/sh\nweb:x:1000:1001::/:/bin/sh\nbad:x:4294967296:1::/:/bin/sh\n1234:x:77:78::/:/bin/sh\n"),
		Group:  []byte("root:x:0:\nwheel:x:10:root,web\nweb:x:1001:web\nmedia:x:44:web\n"),
	}
}

func TestResolveUser(t *testing.T) {
	id := func(v int64) *int64 { return &v }
	for _, c := range []struct {
		name  string
		image string
		s     Security
		want  string // uid:gid groups
		err   string
	}{
		{name: "image without user", want: "0:0 [0 10]"},
		{name: "image name", image: "web", want: "1000:1001 [1001 10 44]"},
		{name: "the image's group does not count", image: "web:wheel", want: "1000:1001 [1001 10 44]"},
		{name: "image number", image: "1000", want: "1000:1001 [1001 10 44]"},
		{name: "unknown number", image: "5", want: "5:0 [0]"},
		{name: "a number is an ID, not a name", image: "1234", want: "1234:0 [0]"},
		{name: "unknown name", image: "nobody", err: `image: user "nobody" is not in the image's /etc/passwd: set securityContext.runAsUser`},
		{name: "out of range", image: "2147483648", err: "out of range"},
		{name: "far out of range", image: "99999999999999999999", err: "out of range"},
		{name: "negative", image: "-1", err: "out of range"},
		{name: "entry out of range", image: "bad", err: "ID out of range"},
		{name: "runAsUser", image: "web", s: Security{RunAsUser: id(5)}, want: "5:0 [0]"},
		{name: "runAsUser with entry", s: Security{RunAsUser: id(1000)}, want: "1000:1001 [1001 10 44]"},
		{name: "runAsGroup", s: Security{RunAsUser: id(1000), RunAsGroup: id(7)}, want: "1000:7 [7 10 44]"},
		{name: "runAsGroup alone", image: "web", s: Security{RunAsGroup: id(7)}, want: "1000:7 [7 10 44]"},
		{name: "supplemental", s: Security{RunAsUser: id(1000), SupplementalGroups: []int64{99, 44, 98}}, want: "1000:1001 [1001 10 44 99 98]"},
		{name: "strict", s: Security{RunAsUser: id(1000), SupplementalGroups: []int64{99}, StrictGroups: true}, want: "1000:1001 [1001 99]"},
		{name: "non-root", image: "1000", s: Security{RunAsNonRoot: true}, want: "1000:1001 [1001 10 44]"},
		{name: "non-root: root", image: "0:5", s: Security{RunAsNonRoot: true}, err: "container has runAsNonRoot and image will run as root"},
		{name: "non-root: no user", s: Security{RunAsNonRoot: true}, err: "container has runAsNonRoot and image will run as root"},
		{name: "non-root: name", image: "web", s: Security{RunAsNonRoot: true}, err: "container has runAsNonRoot and image has non-numeric user (web), cannot verify user is non-root"},
		{name: "non-root: name overridden", image: "web", s: Security{RunAsNonRoot: true, RunAsUser: id(9)}, want: "9:0 [0]"},
		{name: "non-root: runAsUser 0", image: "1000", s: Security{RunAsNonRoot: true, RunAsUser: id(0)}, err: "container's runAsUser breaks non-root policy"},
		{name: "runAsUser negative", s: Security{RunAsUser: id(-1)}, err: "securityContext.runAsUser: -1 is out of range"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := resolveUser(Options{Image: ocispec.ImageConfig{User: c.image}, Security: c.s, UserFiles: testFiles()}, nil)
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Fatalf("error %v, want %q", err, c.err)
				}
				return
			}
			if s := fmt.Sprintf("%d:%d %v", got.UID, got.GID, got.AdditionalGids); err != nil || s != c.want {
				t.Errorf("%s, %v, want %s", s, err, c.want)
			}
		})
	}
}

func TestVerifyRunAsNonRootMessage(t *testing.T) {
	pod, c := podWith(nil, nil)
	err := VerifyRunAsNonRoot(pod, c, Security{RunAsNonRoot: true}, "")
	want := `container has runAsNonRoot and image will run as root (pod: "web_default(1234)", container: c)`
	if err == nil || err.Error() != want {
		t.Errorf("got %v\nwant %s", err, want)
	}
}

// The root file system is mounted only when its files matter.
func TestRootfsIsLazy(t *testing.T) {
	calls := 0
	rootfs := func(use func(string) error) error { calls++; return errors.New("no mount") }
	o := Options{Security: Security{RunAsUser: ptr(int64(1)), RunAsGroup: ptr(int64(1)), StrictGroups: true}}
	if _, err := resolveUser(o, rootfs); err != nil || calls != 0 {
		t.Errorf("%v after %d calls", err, calls)
	}
	if _, err := resolveUser(Options{}, rootfs); err == nil || calls != 1 {
		t.Errorf("%v after %d calls", err, calls)
	}
}

func TestReadUserFiles(t *testing.T) {
	dir := t.TempDir()
	outside := filepath.Join(dir, "outside")
	root := filepath.Join(dir, "root")
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.MkdirAll(filepath.Join(root, "etc"), 0o755))
	must(os.MkdirAll(filepath.Join(root, "usr"), 0o755))
	must(os.WriteFile(outside, []byte("evil:x:1:1::/:/bin/sh\n"), 0o644))
	passwd, group := filepath.Join(root, "etc/passwd"), filepath.Join(root, "etc/group")

	f, err := ReadUserFiles(root)
	if err != nil || len(f.Passwd)+len(f.Group) != 0 {
		t.Errorf("an image without files: %q, %v", f, err)
	}
	// Absolute links start at the image's root.
	must(os.WriteFile(filepath.Join(root, "usr/passwd"), []byte("inside"), 0o644))
	must(os.Symlink("/usr/passwd", passwd))
	must(os.Symlink("../../../../.."+outside, group))
	f, err = ReadUserFiles(root)
	if err != nil || string(f.Passwd) != "inside" || len(f.Group) != 0 {
		t.Errorf("links: %q %q, %v", f.Passwd, f.Group, err)
	}
	for name, make := range map[string]func(string) error{
		"not a regular file":        func(p string) error { return unix.Mkfifo(p, 0o644) },
		"not a regular":             func(p string) error { return os.Mkdir(p, 0o755) },
		"larger than 1048576 bytes": func(p string) error { return os.WriteFile(p, slices.Repeat([]byte("x"), maxUserFile+1), 0o644) },
	} {
		must(os.Remove(group))
		must(make(group))
		if _, err := ReadUserFiles(root); err == nil || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), "/etc/group") {
			t.Errorf("%v, want %q", err, name)
		}
	}
	must(os.Remove(group))
	must(os.Symlink("group", group))
	if _, err := ReadUserFiles(root); !errors.Is(err, unix.ELOOP) {
		t.Errorf("a loop: %v", err)
	}
}
