// SPDX-License-Identifier: Apache-2.0

package volumes

import (
	"context"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"pgregory.net/rapid"
)

func TestUnsupported(t *testing.T) {
	m := New(Config{})
	err := m.Check([]corev1.Volume{
		disk("fine"),
		{Name: "default"},
		{Name: "s", VolumeSource: corev1.VolumeSource{CSI: &corev1.CSIVolumeSource{}}},
		{Name: "p", VolumeSource: corev1.VolumeSource{ISCSI: &corev1.ISCSIVolumeSource{}}},
		{Name: "h", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{Medium: "Floppy"}}},
		{Name: "x", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{Medium: "Tape"}}},
		host("a", "relative", ""),
		host("b", "/a/../b", ""),
		host("c", "/a", "Pipe"),
		disk("../x"),
	})
	want := strings.Join([]string{
		`spec.volumes[2].csi: not supported`,
		`spec.volumes[3].iscsi: not supported`,
		`spec.volumes[4].emptyDir.medium: "Floppy" is unknown`,
		`spec.volumes[5].emptyDir.medium: "Tape" is unknown`,
		`spec.volumes[6].hostPath.path: "relative" is not an absolute path`,
		`spec.volumes[7].hostPath.path: "/a/../b" must not contain '..'`,
		`spec.volumes[8].hostPath.type: Pipe is an invalid volume type`,
		`spec.volumes[9].name: "../x" is not a name`,
	}, "\n")
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
	// Nothing is made when one volume is refused.
	pod := newPod(t, "pod")
	if _, err := m.Setup(context.Background(), pod, []corev1.Volume{disk("fine"), {Name: "s", VolumeSource: corev1.VolumeSource{CSI: &corev1.CSIVolumeSource{}}}}); err == nil {
		t.Error("no error")
	}
	if exists(filepath.Join(pod.Dir, volumesDir)) {
		t.Error("made something")
	}
}

// A name that passes is one component of a path, whatever it is.
func TestNameStaysInDirectory(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.OneOf(rapid.String(), rapid.StringMatching(`[./a~\x00-]{0,6}`)).Draw(t, "name")
		if checkName(name) != nil {
			return
		}
		p := filepath.Join("/base/dir", name)
		if filepath.Dir(p) != "/base/dir" || filepath.Base(p) != name {
			t.Fatalf("%q leads to %q", name, p)
		}
		if strings.HasSuffix(name, newSuffix) {
			t.Fatalf("%q looks like a volume that is being made", name)
		}
	})
}

func TestWithin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		gen := rapid.StringMatching(`(/[ab.]{1,3}){0,4}`)
		dir, path := filepath.Clean("/"+gen.Draw(t, "dir")), filepath.Clean("/"+gen.Draw(t, "path"))
		rel, err := filepath.Rel(dir, path)
		want := err == nil && rel != ".." && !strings.HasPrefix(rel, "../")
		if within(dir, path) != want {
			t.Fatalf("within(%q, %q) is %v", dir, path, !want)
		}
	})
}
