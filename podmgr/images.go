// SPDX-License-Identifier: Apache-2.0

package podmgr

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/minikubelet/minikubelet/podmgr/plan"
	"github.com/minikubelet/minikubelet/runtime/image"
)

// pullError carries the kubelet's reason: ErrImagePull, InvalidImageName.
type pullError struct {
	reason string
	err    error
}

func (e *pullError) Error() string { return e.err.Error() }
func (e *pullError) Unwrap() error { return e.err }

// seenImages is what is known of the Pod's images. Each is looked up once; a
// failed create and a pull look again.
func (w *worker) seenImages(ctx context.Context, pod *corev1.Pod) map[string]plan.Image {
	out := make(map[string]plan.Image)
	for c := range Containers(pod) {
		w.seeImage(ctx, c.Image, out)
	}
	for i := range pod.Spec.Volumes {
		if source := pod.Spec.Volumes[i].Image; source != nil {
			w.seeImage(ctx, source.Reference, out)
		}
	}
	return out
}

func (w *worker) seeImage(ctx context.Context, ref string, out map[string]plan.Image) {
	if _, done := out[ref]; done {
		return
	}
	w.mu.Lock()
	seen, known := w.images[ref]
	w.mu.Unlock()
	if !known {
		seen = w.lookUpImage(ctx, ref)
		w.mu.Lock()
		w.images[ref] = seen
		w.mu.Unlock()
	}
	seen.Pulling = w.isBusy("image " + ref)
	out[ref] = seen
}

func (w *worker) lookUpImage(ctx context.Context, ref string) plan.Image {
	if _, err := image.Normalise(ref); err != nil {
		return plan.Image{
			Reason:  "InvalidImageName",
			Message: fmt.Sprintf("Failed to apply default image tag %q: %v", ref, err), Failures: 1, FailedAt: time.Now(),
		}
	}
	_, ok, err := w.m.cfg.Images.Get(ctx, ref)
	if err != nil {
		w.log.Warn("cannot look up an image; it counts as missing", "image", ref, "err", err)
	}
	return plan.Image{Present: ok && err == nil}
}

// forgetImage makes the next look ask the image store again.
func (w *worker) forgetImage(ref string) {
	w.mu.Lock()
	delete(w.images, ref)
	w.mu.Unlock()
}

// ImagesChanged tells the manager that the image store has got something: Pods
// that wait for an image look again.
func (m *Manager) ImagesChanged() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, w := range m.workers {
		w.forgetMissing()
	}
}

func (w *worker) forgetMissing() {
	w.mu.Lock()
	missing := false
	w.imageNews++
	for ref, image := range w.images {
		if !image.Present && w.busy["image "+ref] == nil {
			delete(w.images, ref)
			missing = true
		}
	}
	w.mu.Unlock()
	if missing {
		w.wakeUp()
	}
}

// imageName is the reference as the image store knows it.
func (w *worker) imageName(ref string) string {
	name, err := image.Normalise(ref)
	if err != nil {
		return ref
	}
	return name
}

// imageWasThere tells the Pod's owner that a container's start needed no pull.
func (w *worker) imageWasThere(pod *corev1.Pod, container string) {
	w.mu.Lock()
	pulled := w.pulled[container]
	delete(w.pulled, container)
	w.mu.Unlock()
	if c, _ := containerOf(pod, container); c != nil && !pulled {
		w.event(pod, container, corev1.EventTypeNormal, "Pulled",
			fmt.Sprintf("Container image %q already present on machine and can be accessed by the pod", c.Image))
	}
}

// pullImage makes an image available and tells the Pod's owner.
func (w *worker) pullImage(ctx context.Context, pod *corev1.Pod, a plan.Action) error {
	w.event(pod, a.Container, corev1.EventTypeNormal, "Pulling", fmt.Sprintf("Pulling image %q", a.Image))
	began := time.Now()
	w.mu.Lock()
	news := w.imageNews
	w.mu.Unlock()
	var pulled image.Image
	own, err := w.pullCredentials(pod)
	if err == nil {
		pulled, err = w.m.cfg.Pull(ctx, a.Image, own)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	w.mu.Lock()
	old := w.images[a.Image]
	if err != nil && old.Present {
		// On a node without a registry the rule is easily forgotten: no tag means latest, and that means Always.
		err = fmt.Errorf("%w; the image is on this node, and imagePullPolicy IfNotPresent would use it", err)
	}
	switch {
	case err != nil && w.imageNews != news:
		// Something came into the store meanwhile, perhaps this image from an archive.
		delete(w.images, a.Image)
	case err != nil:
		w.images[a.Image] = plan.Image{
			Present: old.Present,
			Reason:  "ErrImagePull", Message: err.Error(), Failures: old.Failures + 1, FailedAt: time.Now(),
		}
	default:
		w.images[a.Image] = plan.Image{Present: true, PulledAt: time.Now()}
		w.pulled[a.Container] = true
	}
	w.mu.Unlock()
	if err != nil {
		w.event(pod, a.Container, corev1.EventTypeWarning, "Failed", fmt.Sprintf("Failed to pull image %q: %v", a.Image, err))
		w.event(pod, a.Container, corev1.EventTypeWarning, "Failed", "Error: ErrImagePull")
		return &pullError{"ErrImagePull", err}
	}
	took := time.Since(began).Round(time.Millisecond)
	w.event(pod, a.Container, corev1.EventTypeNormal, "Pulled", fmt.Sprintf(
		"Successfully pulled image %q in %v (%v including waiting). Image size: %d bytes.", a.Image, took, took, pulled.Size))
	return nil
}
