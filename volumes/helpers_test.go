// SPDX-License-Identifier: Apache-2.0

package volumes

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
}

// newPod makes a Pod directory and sees to it that no mount survives the test.
func newPod(t *testing.T, name string) Pod {
	t.Helper()
	dir := filepath.Join(t.TempDir(), name)
	if err := os.Mkdir(dir, 0o750); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, m := range mountsBelow(t, dir) {
			t.Errorf("left mounted: %s", m)
			unix.Unmount(m, unix.MNT_DETACH)
		}
	})
	return Pod{UID: name, Namespace: "default", Name: name, Dir: dir,
		Files: map[string]Files{"v": {"key": {Data: []byte("value"), Mode: 0o644}}}}
}

func mountsBelow(t *testing.T, dir string) []string {
	t.Helper()
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return nil
	}
	infos, err := mountinfo.GetMounts(mountinfo.PrefixFilter(real))
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, i := range infos {
		out = append([]string{i.Mountpoint}, out...)
	}
	return out
}

func bind(t *testing.T, source, target string) {
	t.Helper()
	if err := unix.Mount(source, target, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(target, unix.MNT_DETACH) })
}

func mkdir(t *testing.T, path string) string {
	t.Helper()
	if err := os.MkdirAll(path, 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

func setup(t *testing.T, m *Manager, pod Pod, vols ...corev1.Volume) Volumes {
	t.Helper()
	out, err := m.Setup(context.Background(), pod, vols)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func teardown(t *testing.T, m *Manager, pod Pod) {
	t.Helper()
	if err := m.Teardown(context.Background(), pod); err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(pod.Dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(left) > 0 {
		t.Fatalf("left in the pod's directory: %v", left)
	}
	if m := mountsBelow(t, pod.Dir); len(m) > 0 {
		t.Fatalf("left mounted: %v", m)
	}
}

func disk(name string) corev1.Volume {
	return corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}
}

// projectedOf is a volume whose files are the Pod's Files.
func projectedOf(name, source string) corev1.Volume {
	v := corev1.Volume{Name: name}
	switch source {
	case "configMap":
		v.ConfigMap = &corev1.ConfigMapVolumeSource{}
	case "secret":
		v.Secret = &corev1.SecretVolumeSource{}
	case "downwardAPI":
		v.DownwardAPI = &corev1.DownwardAPIVolumeSource{}
	case "projected":
		v.Projected = &corev1.ProjectedVolumeSource{}
	}
	return v
}

func memory(name, limit string) corev1.Volume {
	e := &corev1.EmptyDirVolumeSource{Medium: corev1.StorageMediumMemory}
	if limit != "" {
		q := resource.MustParse(limit)
		e.SizeLimit = &q
	}
	return corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{EmptyDir: e}}
}

func host(name, path string, typ corev1.HostPathType) corev1.Volume {
	return corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: path, Type: &typ}}}
}

func wantError(t *testing.T, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want one with %q", parts)
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			t.Errorf("error %q lacks %q", err, p)
		}
	}
}

func ptr[T any](v T) *T { return &v }
