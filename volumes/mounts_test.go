// SPDX-License-Identifier: Apache-2.0

package volumes

import (
	"context"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
)

func TestMountOptions(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	vols := Volumes{}
	for name, flag := range map[string]uintptr{"shared": unix.MS_SHARED, "private": unix.MS_PRIVATE} {
		at := mkdir(t, filepath.Join(dir, name))
		if err := unix.Mount("tmpfs", at, "tmpfs", 0, "size=64k"); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Unmount(at, unix.MNT_DETACH) })
		if err := unix.Mount("", at, "", flag, ""); err != nil {
			t.Fatal(err)
		}
		vols[name] = Volume{Path: mkdir(t, filepath.Join(at, "sub"))}
	}
	vols["fixed"] = Volume{Path: dir, ReadOnly: true}
	slave := mkdir(t, filepath.Join(dir, "slave"))
	bind(t, filepath.Join(dir, "shared"), slave)
	if err := unix.Mount("", slave, "", unix.MS_SLAVE, ""); err != nil {
		t.Fatal(err)
	}
	vols["slave"] = Volume{Path: slave}

	none, h2c, bi := ptr(corev1.MountPropagationNone), ptr(corev1.MountPropagationHostToContainer), ptr(corev1.MountPropagationBidirectional)
	on, maybe, off := ptr(corev1.RecursiveReadOnlyEnabled), ptr(corev1.RecursiveReadOnlyIfPossible), ptr(corev1.RecursiveReadOnlyDisabled)
	for _, c := range []struct {
		name  string
		mount corev1.VolumeMount
		old   bool // a kernel without recursive read-only mounts
		want  string
		err   string
	}{
		{name: "plain", mount: corev1.VolumeMount{Name: "private"}, want: "rbind rprivate rw"},
		{name: "read-only", mount: corev1.VolumeMount{Name: "private", ReadOnly: true, RecursiveReadOnly: off}, want: "rbind rprivate ro"},
		{name: "read-only volume", mount: corev1.VolumeMount{Name: "fixed"}, want: "rbind rprivate ro"},
		{name: "recursive", mount: corev1.VolumeMount{Name: "private", ReadOnly: true, RecursiveReadOnly: on, MountPropagation: none}, want: "rbind rprivate rro"},
		{name: "recursive if possible", mount: corev1.VolumeMount{Name: "private", ReadOnly: true, RecursiveReadOnly: maybe}, want: "rbind rprivate rro"},
		{name: "recursive if possible, old kernel", old: true, mount: corev1.VolumeMount{Name: "private", ReadOnly: true, RecursiveReadOnly: maybe}, want: "rbind rprivate ro"},
		{name: "recursive, old kernel", old: true, mount: corev1.VolumeMount{Name: "private", ReadOnly: true, RecursiveReadOnly: on}, err: "volumeMounts[0].recursiveReadOnly: this node's kernel"},
		{name: "recursive but writable", mount: corev1.VolumeMount{Name: "private", RecursiveReadOnly: on}, err: "volumeMounts[0].recursiveReadOnly: Enabled needs readOnly"},
		{name: "recursive and propagated", mount: corev1.VolumeMount{Name: "shared", ReadOnly: true, RecursiveReadOnly: on, MountPropagation: h2c}, err: "needs readOnly and no mountPropagation"},
		{name: "from the host", mount: corev1.VolumeMount{Name: "shared", MountPropagation: h2c}, want: "rbind rslave rw"},
		{name: "from the host, slave", mount: corev1.VolumeMount{Name: "slave", MountPropagation: h2c}, want: "rbind rslave rw"},
		{name: "both ways", mount: corev1.VolumeMount{Name: "shared", MountPropagation: bi}, want: "rbind rshared rw"},
		{name: "from the host, private", mount: corev1.VolumeMount{Name: "private", MountPropagation: h2c}, err: "is not a shared or slave mount"},
		{name: "both ways, private", mount: corev1.VolumeMount{Name: "private", MountPropagation: bi}, err: "volumeMounts[0].mountPropagation: path"},
		{name: "both ways, slave", mount: corev1.VolumeMount{Name: "slave", MountPropagation: bi}, err: "is not a shared mount"},
		{name: "unknown volume", mount: corev1.VolumeMount{Name: "nope"}, err: `volumeMounts[0].name: the pod has no volume "nope"`},
		{name: "unexpanded", mount: corev1.VolumeMount{Name: "private", SubPathExpr: "$(A)"}, err: "volumeMounts[0].subPathExpr"},
		{name: "upwards", mount: corev1.VolumeMount{Name: "private", SubPath: "a/../../b"}, err: "volumeMounts[0].subPath"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := New(Config{})
			m.recursiveReadOnly = !c.old
			c.mount.MountPath = "/data"
			got, err := m.Mounts(context.Background(), newPod(t, "pod"), "c", vols, []corev1.VolumeMount{c.mount})
			if c.err != "" {
				wantError(t, err, c.err)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if g := got[0]; !slices.Equal(g.Options, strings.Fields(c.want)) || g.Source != vols[c.mount.Name].Path || g.Destination != "/data" || g.Type != "bind" {
				t.Errorf("%+v", g)
			}
		})
	}
}
