// SPDX-License-Identifier: Apache-2.0

package volumes

import (
	"os"
	"path/filepath"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// TestVerify plays the OCI runtime, which mounts by name, and somebody who puts
// something else there after the check. The mount itself shows the secret each time.
func TestVerify(t *testing.T) {
	needRoot(t)
	for name, c := range map[string]struct {
		attack func(path, secret string) error
		err    string
	}{
		"nothing": {func(string, string) error { return nil }, ""},
		"a link in its place": {func(path, secret string) error {
			if err := os.Rename(path, path+".old"); err != nil {
				return err
			}
			return os.Symlink(secret, path)
		}, "leads through a symbolic link since it was checked"},
		"a link above it": {func(path, secret string) error {
			dir := filepath.Dir(path)
			if err := os.Rename(dir, dir+".old"); err != nil {
				return err
			}
			return os.Symlink(filepath.Dir(secret), dir)
		}, "leads through a symbolic link since it was checked"},
	} {
		t.Run(name, func(t *testing.T) {
			top := t.TempDir()
			path := filepath.Join(mkdir(t, filepath.Join(top, "open")), "data")
			secret := filepath.Join(mkdir(t, filepath.Join(top, "hidden")), "data")
			write(t, path, "open")
			write(t, secret, "secret")
			root := mkdir(t, filepath.Join(top, "root"))
			write(t, filepath.Join(root, "f"), "")
			if err := os.Symlink("/", filepath.Join(root, "here")); err != nil {
				t.Fatal(err)
			}

			m := New(Config{AllowedHostPaths: []string{filepath.Join(top, "open")}})
			vols := setup(t, m, newPod(t, "pod"), host("v", path, corev1.HostPathFile))
			if err := c.attack(path, secret); err != nil {
				t.Fatal(err)
			}
			bind(t, vols["v"].Path, filepath.Join(root, "f"))
			if got, leaked := read(t, filepath.Join(root, "f")), c.err != ""; (got == "secret") != leaked {
				t.Fatalf("the mount shows %q", got)
			}
			mounts := []corev1.VolumeMount{{Name: "v", MountPath: "/x", SubPath: "a"}, {Name: "v", MountPath: "here/f"}}
			err := m.Verify(vols, mounts, root)
			if c.err == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			wantError(t, err, "volumeMounts[1]: "+vols["v"].Path, c.err)
		})
	}
}

// TestVerifySeesWhatIsMounted: a link that was there for the mount and is gone again
// helps nobody.
func TestVerifySeesWhatIsMounted(t *testing.T) {
	needRoot(t)
	top := t.TempDir()
	path, secret, root := filepath.Join(top, "data"), filepath.Join(top, "secret"), mkdir(t, filepath.Join(top, "root"))
	for _, f := range []string{path, secret, filepath.Join(root, "f")} {
		write(t, f, f)
	}
	m := New(Config{})
	vols := setup(t, m, newPod(t, "pod"), host("v", path, corev1.HostPathUnset))
	bind(t, secret, filepath.Join(root, "f"))
	err := m.Verify(vols, []corev1.VolumeMount{{Name: "v", MountPath: "/f"}}, root)
	wantError(t, err, "volumeMounts[0]: "+path, "was replaced while the container was made")
}

// TestHostPathsAreMadeWhereTheyWereAllowed: directories are made through no link that
// came after the check.
func TestHostPathsAreMadeWhereTheyWereAllowed(t *testing.T) {
	needRoot(t)
	top := t.TempDir()
	out := mkdir(t, filepath.Join(top, "out"))
	if err := os.Symlink(out, filepath.Join(top, "link")); err != nil {
		t.Fatal(err)
	}
	if err := makeDirs(filepath.Join(top, "link/a/b")); err == nil || exists(filepath.Join(out, "a")) {
		t.Errorf("made through a link: %v", err)
	}
	if err := makeDirs(filepath.Join(out, "a/b")); err != nil || !exists(filepath.Join(out, "a/b")) {
		t.Error(err)
	}
}
