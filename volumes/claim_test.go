// SPDX-License-Identifier: Apache-2.0

package volumes

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func claimed() []corev1.Volume {
	return []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{
		PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "c"},
	}}}
}

// TestClaimIsItsVolume: the data are found where the claim is bound to and stay when
// the Pod goes; only the node's own directory needs no permission.
func TestClaimIsItsVolume(t *testing.T) {
	own, other, dir := t.TempDir(), t.TempDir(), t.TempDir()
	m := New(Config{AllowedHostPaths: []string{"/nowhere"}, OwnVolumes: own})
	data := filepath.Join(own, "pvc-1")
	if err := os.Mkdir(data, 0o777); err != nil {
		t.Fatal(err)
	}
	pod := Pod{UID: "u", Namespace: "n", Name: "p", Dir: dir, Claims: map[string]Claim{"v": {Local: data, ReadOnly: true}}}
	vols, err := m.Setup(t.Context(), pod, claimed())
	if err != nil || vols["v"].Path != data || !vols["v"].ReadOnly {
		t.Fatalf("%+v %v", vols, err)
	}
	if err := m.Teardown(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(data); err != nil {
		t.Error(err)
	}
	for name, claim := range map[string]Claim{
		"not allowed": {Local: other}, "host, not allowed": {HostPath: &corev1.HostPathVolumeSource{Path: own}},
		"not there": {Local: filepath.Join(own, "none")}, "climbs": {Local: filepath.Join(own, "pvc-1") + "/../.."},
	} {
		pod.Claims["v"] = claim
		if vols, err := m.Setup(t.Context(), pod, claimed()); err == nil {
			t.Errorf("%s: %+v", name, vols)
		}
	}
	delete(pod.Claims, "v")
	if _, err := m.Setup(t.Context(), pod, claimed()); err == nil {
		t.Error("a claim that nobody looked up")
	}
}

// TestVolumeIsGivenToTheGroup also shows that a link in it leads nowhere.
func TestVolumeIsGivenToTheGroup(t *testing.T) {
	if os.Getuid() != 0 {
		t.Log("needs root to give files to a group")
		return
	}
	data, outside := t.TempDir(), filepath.Join(t.TempDir(), "f")
	for _, f := range []string{outside, filepath.Join(data, "f")} {
		if err := os.WriteFile(f, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(outside, filepath.Join(data, "link")); err != nil {
		t.Fatal(err)
	}
	pod := Pod{UID: "u", Dir: t.TempDir(), FSGroup: ptr(int64(4321)), Claims: map[string]Claim{"v": {Local: data}}}
	give := func() {
		t.Helper()
		if _, err := New(Config{}).Setup(t.Context(), pod, claimed()); err != nil {
			t.Fatal(err)
		}
	}
	has := func(path string, gid uint32, mode uint32) {
		t.Helper()
		var st syscall.Stat_t
		if err := syscall.Stat(path, &st); err != nil || st.Gid != gid || st.Mode&0o7777 != mode {
			t.Errorf("%s: group %d, mode %o, %v; want %d, %o", path, st.Gid, st.Mode&0o7777, err, gid, mode)
		}
	}
	give()
	has(filepath.Join(data, "f"), 4321, 0o660)
	has(data, 4321, 0o2775)
	has(outside, 0, 0o600)

	if err := os.Chmod(filepath.Join(data, "f"), 0o600); err != nil {
		t.Fatal(err)
	}
	pod.FSGroupOnRootMismatch = true
	give()
	has(filepath.Join(data, "f"), 4321, 0o600)
	pod.FSGroupOnRootMismatch = false
	give()
	has(filepath.Join(data, "f"), 4321, 0o660)
}
