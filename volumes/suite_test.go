// SPDX-License-Identifier: Apache-2.0

package volumes

import (
	"context"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// kind is a volume that the behaviour suite runs on.
type kind struct {
	volume corev1.Volume
	// claim is what a persistent volume is bound to, nil for others.
	claim *Claim
	// outside is the directory that is not the Pod's and outlives it, or empty.
	outside string
}

// kinds are every type, and each medium of it.
func kinds(t *testing.T) map[string]kind {
	out := make(map[string]kind)
	for name, v := range map[string]corev1.Volume{
		"emptyDir":        disk("v"),
		"emptyDir memory": memory("v", "1Mi"),
		"configMap":       projectedOf("v", "configMap"),
		"secret":          projectedOf("v", "secret"),
		"downwardAPI":     projectedOf("v", "downwardAPI"),
		"projected":       projectedOf("v", "projected"),
		"image":           {Name: "v", VolumeSource: corev1.VolumeSource{Image: &corev1.ImageVolumeSource{Reference: "x"}}},
	} {
		out[name] = kind{volume: v}
	}
	outside := func(name string) string { return mkdir(t, filepath.Join(t.TempDir(), name)) }
	dir := outside("host")
	out["hostPath"] = kind{volume: host("v", dir, corev1.HostPathDirectory), outside: dir}
	for name, v := range map[string]corev1.Volume{
		"persistentVolumeClaim": claimed()[0],
		"ephemeral":             {Name: "v", VolumeSource: corev1.VolumeSource{Ephemeral: &corev1.EphemeralVolumeSource{}}},
	} {
		dir := outside("local")
		out[name] = kind{v, &Claim{Local: dir}, dir}
		dir = outside("hostPath")
		out[name+" of a hostPath"] = kind{v, &Claim{HostPath: &corev1.HostPathVolumeSource{Path: dir}}, dir}
	}
	return out
}

func (k kind) newPod(t *testing.T, name string) Pod {
	t.Helper()
	pod := newPod(t, name)
	if k.claim != nil {
		pod.Claims = map[string]Claim{"v": *k.claim}
	}
	return pod
}

// TestBehaviour is the contract of volumeType, the same for all.
func TestBehaviour(t *testing.T) {
	needRoot(t)
	ctx := context.Background()
	steps := map[string]func(t *testing.T, m *Manager, pod Pod, k kind){
		"two containers share it": func(t *testing.T, m *Manager, pod Pod, k kind) {
			vols := setup(t, m, pod, k.volume)
			var at [2]string
			for i, c := range []string{"a", "b"} {
				mounts, err := m.Mounts(ctx, pod, c, vols, []corev1.VolumeMount{{Name: "v", MountPath: "/v"}})
				if err != nil {
					t.Fatal(err)
				}
				at[i] = mkdir(t, filepath.Join(t.TempDir(), c))
				bind(t, mounts[0].Source, at[i])
			}
			write(t, filepath.Join(at[0], "f"), "from a")
			if got := read(t, filepath.Join(at[1], "f")); got != "from a" {
				t.Errorf("b reads %q", got)
			}
		},
		"a preview makes nothing and tells the truth": func(t *testing.T, m *Manager, pod Pod, k kind) {
			preview, err := m.Preview(pod, []corev1.Volume{k.volume})
			if err != nil {
				t.Fatal(err)
			}
			if left, err := os.ReadDir(pod.Dir); err != nil || len(left) > 0 {
				t.Errorf("made %v, %v", left, err)
			}
			vms := []corev1.VolumeMount{{Name: "v", MountPath: "/v"}, {Name: "v", MountPath: "/sub", SubPath: "d", ReadOnly: true}}
			before, err := m.PreviewMounts(pod, "c", preview, vms)
			if err != nil {
				t.Fatal(err)
			}
			mounts, err := m.Mounts(ctx, pod, "c", setup(t, m, pod, k.volume), vms)
			if k.claim != nil && before[0].Source == preview["v"].Path {
				before[0].Source = k.outside // a dry run looks up no claim
			}
			if err != nil || !reflect.DeepEqual(before, mounts) {
				t.Errorf("preview %v, then %v, %v", before, mounts, err)
			}
		},
		"set-up again adopts": func(t *testing.T, m *Manager, pod Pod, k kind) {
			first := setup(t, m, pod, k.volume)
			write(t, filepath.Join(first["v"].Path, "f"), "kept")
			if err := os.Chmod(first["v"].Path, 0o700); err != nil {
				t.Fatal(err)
			}
			second := setup(t, New(Config{}), pod, k.volume)
			if first["v"] != second["v"] {
				t.Errorf("%v, then %v", first, second)
			}
			if got := read(t, filepath.Join(second["v"].Path, "f")); got != "kept" {
				t.Errorf("content %q", got)
			}
			if info, _ := os.Stat(second["v"].Path); info.Mode().Perm() != 0o700 {
				t.Errorf("mode was changed to %v", info.Mode())
			}
			if n := len(mountsBelow(t, second["v"].Path)); n > 1 {
				t.Errorf("mounted %d times", n)
			}
		},
		"tear-down without set-up": func(t *testing.T, m *Manager, pod Pod, k kind) {
			teardown(t, m, pod)
			os.Remove(pod.Dir)
			if err := m.Teardown(ctx, pod); err != nil {
				t.Error(err)
			}
		},
		"tear-down twice, then a fresh start": func(t *testing.T, m *Manager, pod Pod, k kind) {
			vols := setup(t, m, pod, k.volume)
			write(t, filepath.Join(vols["v"].Path, "f"), "old")
			teardown(t, m, pod)
			teardown(t, m, pod)
			vols = setup(t, m, pod, k.volume)
			if left := exists(filepath.Join(vols["v"].Path, "f")); left != (k.outside != "") {
				t.Errorf("file of the former life there: %v", left)
			}
		},
		"tear-down in use fails or succeeds, and then succeeds": func(t *testing.T, m *Manager, pod Pod, k kind) {
			vols := setup(t, m, pod, k.volume)
			path := filepath.Join(vols["v"].Path, "f")
			write(t, path, "x")
			f, err := os.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if err := m.Teardown(ctx, pod); err != nil {
				wantError(t, err, `UnmountVolume.TearDown failed for volume "v" : `, "busy")
				if read(t, path) != "x" {
					t.Error("content is gone although tear-down failed")
				}
			} else if k.volume.EmptyDir != nil && k.volume.EmptyDir.Medium == corev1.StorageMediumMemory {
				t.Error("unmounted a tmpfs that is in use")
			}
			f.Close()
		},
		"links are not followed": func(t *testing.T, m *Manager, pod Pod, k kind) {
			victim := mkdir(t, filepath.Join(t.TempDir(), "victim"))
			write(t, filepath.Join(victim, "f"), "precious")
			vols := setup(t, m, pod, k.volume)
			for name, to := range map[string]string{"d": victim, "f": filepath.Join(victim, "f"), "up": "../../.."} {
				if err := os.Symlink(to, filepath.Join(vols["v"].Path, name)); err != nil {
					t.Fatal(err)
				}
			}
			teardown(t, m, pod)
			if read(t, filepath.Join(victim, "f")) != "precious" {
				t.Error("followed a link")
			}
		},
		"mounts inside are unmounted, not emptied": func(t *testing.T, m *Manager, pod Pod, k kind) {
			if k.outside != "" {
				t.Skip("mounts in a directory of the host are the host's")
			}
			victim := mkdir(t, filepath.Join(t.TempDir(), "victim"))
			write(t, filepath.Join(victim, "f"), "precious")
			vols := setup(t, m, pod, k.volume)
			bind(t, victim, mkdir(t, filepath.Join(vols["v"].Path, "a/b")))
			bind(t, vols["v"].Path, mkdir(t, filepath.Join(victim, "c")))
			write(t, filepath.Join(vols["v"].Path, "file"), "")
			bind(t, filepath.Join(victim, "f"), filepath.Join(vols["v"].Path, "file"))
			if err := m.Teardown(ctx, pod); err != nil {
				t.Error(err)
			}
			if read(t, filepath.Join(victim, "f")) != "precious" {
				t.Error("removed through a mount")
			}
		},
		"sub-paths go too": func(t *testing.T, m *Manager, pod Pod, k kind) {
			vols := setup(t, m, pod, k.volume)
			for _, c := range []string{"a", "b"} {
				_, err := m.Mounts(ctx, pod, c, vols, []corev1.VolumeMount{
					{Name: "v", MountPath: "/v"}, {Name: "v", MountPath: "/w", SubPath: "x/y"}})
				if err != nil {
					t.Fatal(err)
				}
			}
			if n := len(mountsBelow(t, filepath.Join(pod.Dir, subPathsDir))); n != 2 {
				t.Errorf("%d sub-paths mounted", n)
			}
		},
		"pods do not share by name": func(t *testing.T, m *Manager, pod Pod, k kind) {
			other := k.newPod(t, "other")
			a, b := setup(t, m, pod, k.volume), setup(t, m, other, k.volume)
			write(t, filepath.Join(a["v"].Path, "f"), "mine")
			if shared := exists(filepath.Join(b["v"].Path, "f")); shared != (k.outside != "") {
				t.Errorf("shared: %v", shared)
			}
			teardown(t, m, other)
			if !exists(filepath.Join(a["v"].Path, "f")) {
				t.Error("the tear-down of another pod took it")
			}
		},
	}
	for step, run := range steps {
		t.Run(step, func(t *testing.T) {
			for name, k := range kinds(t) {
				t.Run(name, func(t *testing.T) {
					m, pod := New(Config{}), k.newPod(t, "pod")
					run(t, m, pod, k)
					if exists(pod.Dir) {
						teardown(t, m, pod)
					}
					if k.outside != "" && !exists(k.outside) {
						t.Error("the directory of the host is gone")
					}
				})
			}
		})
	}
}
