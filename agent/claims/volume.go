// SPDX-License-Identifier: Apache-2.0

package claims

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/utils/ptr"
)

// volume brings one volume forward: its phase, its protection, and its end.
func (c *controller) volume(ctx context.Context, pv *corev1.PersistentVolume) error {
	before := pv.DeepCopy()
	claimed := pv.Spec.ClaimRef != nil && slices.ContainsFunc(c.seen.claims, func(claim *corev1.PersistentVolumeClaim) bool {
		return claim.UID == pv.Spec.ClaimRef.UID
	})
	phase := phaseOf(pv, claimed)
	ours := pv.Annotations[annProvisioner] == Provisioner && pv.Spec.PersistentVolumeReclaimPolicy == corev1.PersistentVolumeReclaimDelete
	if ours && !claimed && (phase == corev1.VolumeReleased || pv.DeletionTimestamp != nil) {
		return c.reclaim(ctx, pv)
	}
	if pv.DeletionTimestamp != nil {
		if phase == corev1.VolumeBound {
			return nil
		}
		return unprotect(c.Store, volumes, pv, protectVolume)
	}
	if !slices.Contains(pv.Finalizers, protectVolume) {
		pv.Finalizers = append(pv.Finalizers, protectVolume)
	}
	if err := c.enforce(pv); err != nil {
		return err
	}
	setPhase(pv, phase)
	pv.Status.Message = ""
	if phase == corev1.VolumeFailed {
		pv.Status.Message = fmt.Sprintf("error getting deleter volume plugin for volume %q: no deletable volume plugin matched", pv.Name)
		c.tell(ref("v1", "PersistentVolume", pv), warning("VolumeFailedDelete", "%s", pv.Status.Message))
	}
	return update(c.Store, volumes, pv, before)
}

// reclaim removes a volume of ours with its data: the data first, so that a crash
// between leaves something that says what to do.
func (c *controller) reclaim(ctx context.Context, pv *corev1.PersistentVolume) error {
	if pv.Spec.Local != nil && pv.Spec.Local.Path == c.path(pv.Name) {
		if pv.Annotations[annBounded] != "" {
			if err := c.Bound(c.path(pv.Name), 0); err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, ErrNotBounded) {
				return err
			}
		}
		if err := c.Remove(ctx, c.path(pv.Name)); err != nil {
			c.tell(ref("v1", "PersistentVolume", pv), warning("VolumeFailedDelete", "%v", err))
			return err
		}
	}
	if pv.DeletionTimestamp == nil {
		pv.DeletionTimestamp = ptr.To(metav1.Now().Rfc3339Copy())
	}
	return unprotect(c.Store, volumes, pv, protectVolume)
}

// path of a volume. Its name has no slash: the API sees to that, and Base too.
func (c *controller) path(name string) string { return filepath.Join(c.Dir, filepath.Base(name)) }

// provision makes a directory for a claim, and its volume. A crash between leaves a
// directory that the next try finds: the name is the claim's.
func (c *controller) provision(claim *corev1.PersistentVolumeClaim) (*corev1.PersistentVolume, note) {
	class := c.class(claim)
	cannot := func(err error) (*corev1.PersistentVolume, note) {
		return nil, provisioningFailed(class.Name, err.Error())
	}
	request := *claim.Spec.Resources.Requests.Storage()
	if err := c.room(request); err != nil {
		return cannot(err)
	}
	pv := &corev1.PersistentVolume{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "PersistentVolume"},
		ObjectMeta: metav1.ObjectMeta{
			Name: "pvc-" + string(claim.UID), UID: uuid.NewUUID(), CreationTimestamp: metav1.Now().Rfc3339Copy(),
			Annotations: map[string]string{annProvisioner: Provisioner}, Finalizers: []string{protectVolume},
		},
	}
	pv.Spec = corev1.PersistentVolumeSpec{
		Capacity: corev1.ResourceList{corev1.ResourceStorage: request}, AccessModes: claim.Spec.AccessModes,
		PersistentVolumeReclaimPolicy: ptr.Deref(class.ReclaimPolicy, corev1.PersistentVolumeReclaimDelete),
		StorageClassName:              class.Name, VolumeMode: ptr.To(corev1.PersistentVolumeFilesystem),
		PersistentVolumeSource: corev1.PersistentVolumeSource{Local: &corev1.LocalVolumeSource{Path: c.path(pv.Name)}},
		NodeAffinity: &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
			MatchExpressions: []corev1.NodeSelectorRequirement{{Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpIn, Values: []string{c.Node}}},
		}}}},
	}
	r := ref("v1", "PersistentVolumeClaim", claim)
	pv.Spec.ClaimRef = &r
	setPhase(pv, corev1.VolumeBound)
	path := c.path(pv.Name)
	if err := os.Mkdir(path, 0o777); err != nil && !errors.Is(err, fs.ErrExist) {
		return cannot(err)
	}
	// Any user of a container may write there, as in other provisioners of this kind.
	if err := os.Chmod(path, 0o777); err != nil {
		return cannot(err)
	}
	// Before a Pod can write anything.
	if err := c.enforce(pv); err != nil {
		return cannot(err)
	}
	if err := c.Store.Create(volumes, pv); err != nil {
		return cannot(err)
	}
	c.seen.volumes = append(c.seen.volumes, pv)
	return pv, normal("ProvisioningSucceeded", "Successfully provisioned volume %s", pv.Name)
}

// room is why a volume of that size cannot be promised: what is promised in sum is no
// more than the file system has.
func (c *controller) room(request resource.Quantity) error {
	var st unix.Statfs_t
	if err := unix.Statfs(c.Dir, &st); err != nil {
		return &fs.PathError{Op: "statfs", Path: c.Dir, Err: err}
	}
	total := int64(st.Blocks) * st.Bsize
	left := total
	for _, pv := range c.seen.volumes {
		if pv.Annotations[annProvisioner] == Provisioner {
			left -= pv.Spec.Capacity.Storage().Value()
		}
	}
	if request.Value() <= left {
		return nil
	}
	return fmt.Errorf("not enough capacity: %s requested, %s of %s not promised to other claims; ask for less or delete volumes",
		request.String(), resource.NewQuantity(max(left, 0)>>20<<20, resource.BinarySI), resource.NewQuantity(total>>20<<20, resource.BinarySI))
}
