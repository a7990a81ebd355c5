// SPDX-License-Identifier: Apache-2.0

package volumes

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
)

// imageVolume is the file system of an image, read-only. The package makes the
// directory; whoever knows images mounts them there, with the Pod's owners where it has
// a user namespace, before a container gets the volume, and hears from Mounted whether it has been done.
type imageVolume struct{}

func (imageVolume) source() string            { return "image" }
func (imageVolume) dir() string               { return "kubernetes.io~image" }
func (imageVolume) check(corev1.Volume) error { return nil }

func (i imageVolume) path(pod Pod, name string) string {
	return filepath.Join(pod.Dir, volumesDir, i.dir(), name)
}

func (i imageVolume) preview(pod Pod, v corev1.Volume) (Volume, error) {
	return Volume{Path: i.path(pod, v.Name), ReadOnly: true, Mapped: true}, nil
}

func (i imageVolume) setUp(_ context.Context, pod Pod, v corev1.Volume) (Volume, error) {
	path := i.path(pod, v.Name)
	if err := os.MkdirAll(filepath.Dir(path), privateMode); err != nil {
		return Volume{}, err
	}
	if err := os.Mkdir(path, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return Volume{}, err
	}
	return Volume{Path: path, ReadOnly: true, Mapped: true}, nil
}

func (i imageVolume) tearDown(ctx context.Context, pod Pod, name string) error {
	return removeAll(ctx, i.path(pod, name))
}

// usage: the image is the node's, whoever uses it.
func (imageVolume) usage(context.Context, Pod, string) (Usage, error) { return Usage{}, nil }

// Mounted tells whether something is mounted at the volume's own path.
func Mounted(vol Volume) (bool, error) { return isMountRoot(vol.Path) }
