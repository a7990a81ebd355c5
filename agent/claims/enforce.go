// SPDX-License-Identifier: Apache-2.0

package claims

import (
	"errors"

	corev1 "k8s.io/api/core/v1"
)

// annBounded is the size beyond which the kernel lets nobody write into a volume;
// without it the capacity is only promised.
const annBounded = "minikubelet/enforced-capacity"

// ErrNotBounded is what Config.Bound says of a file system, or a directory, that cannot
// be kept to a size.
var ErrNotBounded = errors.New("cannot be kept to a size")

// enforce keeps a volume of ours to its capacity where that can be done, and says by an
// annotation whether it is.
func (c *controller) enforce(pv *corev1.PersistentVolume) error {
	size := pv.Spec.Capacity.Storage()
	if pv.Annotations[annProvisioner] != Provisioner || pv.Spec.Local == nil || pv.Spec.Local.Path != c.path(pv.Name) ||
		pv.Annotations[annBounded] == size.String() || c.unbounded[pv.UID] {
		return nil
	}
	err := c.Bound(c.path(pv.Name), size.Value())
	switch {
	case errors.Is(err, ErrNotBounded): // until the next start of the agent
		c.unbounded[pv.UID] = true
		c.tell(ref("v1", "PersistentVolume", pv), normal("CapacityNotEnforced", "The capacity is not enforced: %v", err))
		return nil
	case err != nil:
		return err
	}
	setAnnotation(pv, annBounded, size.String())
	return nil
}
