// SPDX-License-Identifier: Apache-2.0

package podmgr

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"github.com/minikubelet/minikubelet/runtime"
	"github.com/minikubelet/minikubelet/volumes"
)

// mountImages mounts the images that a container has as volumes, once for the Pod and
// each boot. They are in the store: plan has them pulled before.
func (w *worker) mountImages(ctx context.Context, pod *corev1.Pod, c *corev1.Container, stage *sandboxStage) error {
	for _, m := range c.VolumeMounts {
		for i := range pod.Spec.Volumes {
			if v := &pod.Spec.Volumes[i]; v.Name == m.Name && v.Image != nil {
				if err := w.mountImage(ctx, pod, v, stage); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (w *worker) mountImage(ctx context.Context, pod *corev1.Pod, v *corev1.Volume, stage *sandboxStage) error {
	vol := stage.volumes[v.Name]
	w.writing.mu.Lock() // containers of the Pod may be made at the same time
	defer w.writing.mu.Unlock()
	if w.writing.over {
		return context.Canceled
	}
	if mounted, err := volumes.Mounted(vol); err != nil || mounted {
		return err
	}
	img, ok, err := w.m.cfg.Images.Get(ctx, v.Image.Reference)
	switch {
	case err != nil:
		return err
	case !ok:
		err = fmt.Errorf("image %s: %w", v.Image.Reference, runtime.ErrImage)
	case img.ChainID == "":
		return fmt.Errorf("image %s has no file system", img.Name)
	default:
		err = w.m.cfg.Runtime.MountImage(ctx, string(pod.UID), v.Name, img.ChainID.String(), vol.Path, stage.namespaces.IDs)
	}
	if errors.Is(err, runtime.ErrImage) {
		w.forgetImage(v.Image.Reference)
	}
	return err
}
