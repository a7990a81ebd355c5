// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// The kubelet's waiting reasons for images.
const (
	errImagePull      = "ErrImagePull"
	imagePullBackOff  = "ImagePullBackOff"
	errImageNeverPull = "ErrImageNeverPull"
	invalidImageName  = "InvalidImageName"
)

// imageReady says whether the container can be made from what is there, by its
// pull policy: Always asks for a pull since the last attempt ended (or since the
// Pod's start), the others for presence.
func (v *view) imageReady(m *member) bool {
	_, missing := v.missingImage(m)
	return !missing
}

// wantedImage is an image that a container needs: its own, or one that it has as a
// volume.
type wantedImage struct {
	ref    string
	policy corev1.PullPolicy
}

// missingImage is the first image that is not ready, the container's own before those
// of its volumes.
func (v *view) missingImage(m *member) (want wantedImage, missing bool) {
	own := wantedImage{m.spec.Image, m.spec.ImagePullPolicy}
	if !v.isReady(m, own) {
		return own, true
	}
	for _, mount := range m.spec.VolumeMounts {
		if source := v.imageVolume(mount.Name); source != nil {
			if want := (wantedImage{source.Reference, source.PullPolicy}); !v.isReady(m, want) {
				return want, true
			}
		}
	}
	return own, false
}

// imageVolume is the source of a volume that is an image, nil for others.
func (v *view) imageVolume(name string) *corev1.ImageVolumeSource {
	for i := range v.Pod.Spec.Volumes {
		if s := &v.Pod.Spec.Volumes[i]; s.Name == name {
			return s.Image
		}
	}
	return nil
}

func (v *view) isReady(m *member, want wantedImage) bool {
	img := v.Seen.Images[want.ref]
	if !img.Present {
		return false
	}
	if want.policy != corev1.PullAlways {
		return true
	}
	since := v.startTime()
	if m.ran != nil && m.ran.FinishedAt.After(since) {
		since = m.ran.FinishedAt
	}
	return !img.PulledAt.Before(since) && !img.PulledAt.IsZero()
}

// pull asks for the image of a container whose turn it is.
func (v *view) pull(d *draft, m *member) {
	want, _ := v.missingImage(m)
	img := v.Seen.Images[want.ref]
	if img.Pulling || want.policy == corev1.PullNever || img.Reason == invalidImageName {
		return
	}
	if at := pullAgain(img); v.Now.Before(at) {
		d.wake(at)
		d.wake(img.FailedAt.Add(settle))
		return
	}
	d.do(Action{Kind: PullImage, Container: m.spec.Name, Image: want.ref})
}

// pullAgain is when the next pull is due, zero if none failed.
func pullAgain(img Image) time.Time {
	if img.Failures == 0 {
		return time.Time{}
	}
	return img.FailedAt.Add(pullDelay(img.Failures))
}

// imageTrouble is the waiting reason and message of a container that waits for its
// image; empty when there is nothing to tell, as while a pull goes on.
func (v *view) imageTrouble(m *member) (reason, message string) {
	want, missing := v.missingImage(m)
	if !missing {
		return "", ""
	}
	img := v.Seen.Images[want.ref]
	switch {
	case img.Reason == invalidImageName:
		return invalidImageName, img.Message
	case want.policy == corev1.PullNever:
		return errImageNeverPull, fmt.Sprintf("Container image %q is not present with pull policy of Never", want.ref)
	case img.Failures == 0 || img.Pulling || !v.Now.Before(pullAgain(img)):
		return "", ""
	}
	reason = img.Reason
	if reason == "" {
		reason = errImagePull
	}
	if v.Now.Before(img.FailedAt.Add(settle)) {
		return reason, img.Message
	}
	return imagePullBackOff, fmt.Sprintf("Back-off pulling image %q: %s: %s", want.ref, reason, img.Message)
}
