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
	img := v.Seen.Images[m.spec.Image]
	if !img.Present {
		return false
	}
	if m.spec.ImagePullPolicy != corev1.PullAlways {
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
	img := v.Seen.Images[m.spec.Image]
	if img.Pulling || m.spec.ImagePullPolicy == corev1.PullNever || img.Reason == invalidImageName {
		return
	}
	if at := pullAgain(img); v.Now.Before(at) {
		d.wake(at)
		d.wake(img.FailedAt.Add(settle))
		return
	}
	d.do(Action{Kind: PullImage, Container: m.spec.Name, Image: m.spec.Image})
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
	if v.imageReady(m) {
		return "", ""
	}
	img := v.Seen.Images[m.spec.Image]
	switch {
	case img.Reason == invalidImageName:
		return invalidImageName, img.Message
	case m.spec.ImagePullPolicy == corev1.PullNever:
		return errImageNeverPull, fmt.Sprintf("Container image %q is not present with pull policy of Never", m.spec.Image)
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
	return imagePullBackOff, fmt.Sprintf("Back-off pulling image %q: %s: %s", m.spec.Image, reason, img.Message)
}
