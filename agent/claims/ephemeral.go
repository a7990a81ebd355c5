// SPDX-License-Identifier: Apache-2.0

package claims

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/utils/ptr"
)

// makeEphemeral makes the claims of a Pod's ephemeral volumes. The Pod owns them.
func (c *controller) makeEphemeral(p *corev1.Pod) error {
	if p.DeletionTimestamp != nil || p.Spec.NodeName == "" {
		return nil
	}
	for i := range p.Spec.Volumes {
		v := &p.Spec.Volumes[i]
		if v.Ephemeral == nil || v.Ephemeral.VolumeClaimTemplate == nil {
			continue
		}
		name := claimOf(p, v)
		have := slices.IndexFunc(c.seen.claims, func(o *corev1.PersistentVolumeClaim) bool { return o.Namespace == p.Namespace && o.Name == name })
		if have >= 0 {
			if !metav1.IsControlledBy(c.seen.claims[have], p) {
				c.tell(ref("v1", "Pod", p), warning("EphemeralVolume", "PVC %s/%s was not created for pod %s/%s (pod is not owner)", p.Namespace, name, p.Namespace, p.Name))
			}
			continue
		}
		t := v.Ephemeral.VolumeClaimTemplate.DeepCopy()
		claim := &corev1.PersistentVolumeClaim{
			TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "PersistentVolumeClaim"},
			ObjectMeta: metav1.ObjectMeta{
				Namespace: p.Namespace, Name: name, UID: uuid.NewUUID(), CreationTimestamp: metav1.Now().Rfc3339Copy(),
				Labels: t.Labels, Annotations: t.Annotations, Finalizers: []string{protectClaim},
				OwnerReferences: []metav1.OwnerReference{{
					APIVersion: "v1", Kind: "Pod", Name: p.Name, UID: p.UID, Controller: ptr.To(true), BlockOwnerDeletion: ptr.To(true),
				}},
			},
			Spec: t.Spec, Status: corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimPending},
		}
		if claim.Spec.VolumeMode == nil {
			claim.Spec.VolumeMode = ptr.To(corev1.PersistentVolumeFilesystem)
		}
		if err := c.Store.Create(claims, claim); err != nil {
			return err
		}
		c.seen.claims = append(c.seen.claims, claim)
	}
	return nil
}

// ownerless tells the claim of an ephemeral volume whose Pod is gone. The API's garbage
// collector would end it, too, where there is an API.
func (c *controller) ownerless(claim *corev1.PersistentVolumeClaim) bool {
	owner := metav1.GetControllerOf(claim)
	return owner != nil && owner.APIVersion == "v1" && owner.Kind == "Pod" && slices.Contains(claim.Finalizers, protectClaim) &&
		!slices.ContainsFunc(c.seen.pods, func(p *corev1.Pod) bool { return p.UID == owner.UID })
}
