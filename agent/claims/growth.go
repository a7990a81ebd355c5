// SPDX-License-Identifier: Apache-2.0

package claims

import (
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/utils/ptr"
)

// wantsMore tells whether a bound claim asks for more than its volume has. The API lets
// it ask only when its class says that volumes can grow.
func wantsMore(claim *corev1.PersistentVolumeClaim, pv *corev1.PersistentVolume, class *storagev1.StorageClass) bool {
	return class != nil && ptr.Deref(class.AllowVolumeExpansion, false) && tooSmall(pv, claim)
}

// grow gives a claim's volume the size that the claim asks for. A directory has no size
// of its own: what grows is what is promised. The note says what has become of it, in
// the words of the controllers that do it in a cluster.
func (c *controller) grow(claim *corev1.PersistentVolumeClaim, pv *corev1.PersistentVolume) (note, error) {
	if pv.Annotations[annProvisioner] != Provisioner {
		return normal("ExternalExpanding", "waiting for an external controller to expand this PVC"), nil
	}
	before, request := pv.DeepCopy(), *claim.Spec.Resources.Requests.Storage()
	more := request.DeepCopy()
	more.Sub(*pv.Spec.Capacity.Storage())
	if err := c.room(more); err != nil {
		return warning("VolumeResizeFailed", "resize volume %q by resizer %q failed: %v", pv.Name, Provisioner, err), nil
	}
	pv.Spec.Capacity[corev1.ResourceStorage] = request
	return normal("VolumeResizeSuccessful", "Resize volume succeeded"), update(c.Store, volumes, pv, before)
}
