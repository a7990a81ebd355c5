// SPDX-License-Identifier: Apache-2.0

package volumes

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
)

// blockNode makes the node of a device that need not exist.
func blockNode(t *testing.T, path string, major, minor uint32) {
	t.Helper()
	if err := unix.Mknod(path, unix.S_IFBLK|0o640, int(unix.Mkdev(major, minor))); err != nil {
		t.Skipf("cannot make device nodes here: %v", err)
	}
}

func TestBlockDevices(t *testing.T) {
	dir := t.TempDir()
	node, link := filepath.Join(dir, "node"), filepath.Join(dir, "link")
	blockNode(t, node, 7, 3)
	if err := errors.Join(os.Chown(node, 5, 6), os.Symlink("node", link)); err != nil {
		t.Fatal(err)
	}
	m := New(Config{AllowedHostPaths: []string{dir}})
	for access, claim := range map[string]Claim{"rwm": {Name: "pv", Device: node}, "r": {Name: "pv", Device: link, ReadOnly: true}} {
		pod := Pod{UID: "u", Dir: t.TempDir(), Claims: map[string]Claim{"v": claim}}
		vols, err := m.Setup(t.Context(), pod, claimed())
		if err != nil {
			t.Fatal(err)
		}
		nodes, rules, err := m.Devices("c", vols, []corev1.VolumeDevice{{Name: "v", DevicePath: "/dev/x/"}})
		if err != nil || len(nodes) != 1 || len(rules) != 1 {
			t.Fatal(nodes, rules, err)
		}
		if d := nodes[0]; d.Path != "/dev/x" || d.Type != "b" || d.Major != 7 || d.Minor != 3 || *d.FileMode != 0o640 || *d.UID != 5 || *d.GID != 6 {
			t.Errorf("%+v", d)
		}
		if r := rules[0]; !r.Allow || r.Type != "b" || *r.Major != 7 || *r.Minor != 3 || r.Access != access {
			t.Errorf("%+v, want %s", r, access)
		}
		if _, err := m.Mounts(t.Context(), pod, "c", vols, []corev1.VolumeMount{{Name: "v", MountPath: "/m"}}); err == nil {
			t.Error("a device is mounted")
		}
		if err := m.Teardown(t.Context(), pod); err != nil {
			t.Error(err)
		}
	}
}

// TestWhatIsNoBlockDevice: neither at first nor when the container is made.
func TestWhatIsNoBlockDevice(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	file, node, outside, link := filepath.Join(dir, "file"), filepath.Join(dir, "node"), filepath.Join(other, "outside"), filepath.Join(dir, "link")
	blockNode(t, node, 7, 3)
	blockNode(t, outside, 7, 3)
	if err := errors.Join(os.WriteFile(file, nil, 0o600), os.Symlink(outside, link)); err != nil {
		t.Fatal(err)
	}
	m := New(Config{AllowedHostPaths: []string{dir}})
	setUp := func(path string) (Volumes, error) {
		return m.Setup(t.Context(), Pod{UID: "u", Dir: t.TempDir(), Claims: map[string]Claim{"v": {Name: "pv", Device: path}}}, claimed())
	}
	for path, want := range map[string]string{
		file: " is not a block device", dir: " is not a block device", "/dev/null": "/dev/null is not a block device", dir + "/none": "no such file or directory",
		outside: "is not below a path that this node allows", link: " (which is " + outside + ") is not below a path that this node allows",
	} {
		_, err := setUp(path)
		if device := (*DeviceError)(nil); !errors.As(err, &device) || !strings.HasPrefix(err.Error(), `MapVolume.MapBlockVolume failed for volume "pv" : `) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", path, err, want)
		}
	}
	use := []corev1.VolumeDevice{{Name: "v", DevicePath: "/dev/x"}}
	for want, swap := range map[string]func() error{
		"leads through a symbolic link since it was checked": func() error { return os.Symlink(outside, node) },
		"is not a block device":                              func() error { return os.Mkdir(node, 0o700) },
		"no such file or directory":                          func() error { return nil },
	} {
		_ = os.Remove(node)
		blockNode(t, node, 7, 3)
		vols, err := setUp(node)
		if err := errors.Join(err, os.Remove(node), swap()); err != nil {
			t.Fatal(err)
		}
		if _, _, err = m.Devices("c", vols, use); err == nil || !strings.HasPrefix(err.Error(), "volumeDevices[0]: ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	if _, _, err := m.Devices("c", Volumes{"v": {Path: dir}}, use); err == nil || err.Error() != `volumeDevices[0].name: cannot find volume "v" to pass into container "c"` {
		t.Error(err)
	}
}
