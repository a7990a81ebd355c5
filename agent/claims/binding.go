// SPDX-License-Identifier: Apache-2.0

package claims

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	scheduling "k8s.io/component-helpers/scheduling/corev1"
	"k8s.io/utils/ptr"
)

// Provisioner is the name by which StorageClasses ask for directories of this node.
const Provisioner = "minikubelet/local-path"

const noProvisioner = "kubernetes.io/no-provisioner"

// note is an event to tell; none when reason is empty.
type note struct{ kind, reason, message string }

func normal(reason, format string, args ...any) note {
	return note{corev1.EventTypeNormal, reason, fmt.Sprintf(format, args...)}
}

func warning(reason, format string, args ...any) note {
	return note{corev1.EventTypeWarning, reason, fmt.Sprintf(format, args...)}
}

// decision is what becomes of a claim that has no volume: at most one of bind and
// provision, or a note that says what it waits for.
type decision struct {
	bind      *corev1.PersistentVolume
	provision bool
	note      note
}

// world is what a decision depends on besides the claim.
type world struct {
	volumes []*corev1.PersistentVolume
	// class is the claim's, nil when there is none of the name.
	class *storagev1.StorageClass
	// used: a Pod refers to the claim.
	used bool
	node map[string]string // labels
}

// decide is the rule of Kubernetes' controller, and of its scheduler for a class that
// waits for the first consumer.
func decide(claim *corev1.PersistentVolumeClaim, w world) decision {
	if claim.Spec.VolumeName != "" {
		return named(claim, w)
	}
	waits := w.class != nil && ptr.Deref(w.class.VolumeBindingMode, storagev1.VolumeBindingImmediate) == storagev1.VolumeBindingWaitForFirstConsumer
	pv := match(claim, w, waits && !w.used)
	name := ptr.Deref(claim.Spec.StorageClassName, "")
	switch {
	case pv != nil:
		return decision{bind: pv}
	case waits && !w.used:
		return decision{note: normal("WaitForFirstConsumer", "waiting for first consumer to be created before binding")}
	case name == "":
		return decision{note: normal("FailedBinding", "no persistent volumes available for this claim and no storage class is set")}
	case w.class == nil:
		return decision{note: warning("ProvisioningFailed", "storageclass.storage.k8s.io %q not found", name)}
	case w.class.Provisioner == noProvisioner:
		return decision{note: normal("FailedBinding", "no persistent volumes available for this claim, and its StorageClass %q makes none", name)}
	case w.class.Provisioner != Provisioner:
		return decision{note: normal("ExternalProvisioning", "Waiting for a volume to be created either by the external provisioner '%s' or manually by the system administrator. If volume creation is delayed, please verify that the provisioner is running and correctly registered.", w.class.Provisioner)}
	case isBlock(claim.Spec.VolumeMode):
		return failed(name, "volumeMode Block is not supported: this provisioner makes directories; make a PersistentVolume of the type local for the device")
	case claim.Spec.Selector != nil:
		return failed(name, "claim.Spec.Selector is not supported")
	case claim.Spec.DataSource != nil || claim.Spec.DataSourceRef != nil:
		return failed(name, "a dataSource is not supported: this node has no snapshots")
	case len(w.class.Parameters) > 0:
		return failed(name, "the class has parameters, and this provisioner knows none")
	case len(w.class.MountOptions) > 0:
		return failed(name, "the class has mountOptions, and directories are not mounted")
	}
	return decision{provision: true}
}

func failed(class, why string) decision {
	return decision{note: provisioningFailed(class, why)}
}

func provisioningFailed(class, why string) note {
	return warning("ProvisioningFailed", "failed to provision volume with StorageClass %q: %s", class, why)
}

// named is decide for a claim that asks for one volume by its name.
func named(claim *corev1.PersistentVolumeClaim, w world) decision {
	i := slices.IndexFunc(w.volumes, func(pv *corev1.PersistentVolume) bool { return pv.Name == claim.Spec.VolumeName })
	if i < 0 {
		return decision{note: warning("FailedBinding", "volume %q not found", claim.Spec.VolumeName)}
	}
	pv := w.volumes[i]
	cannot := func(why string) decision {
		return decision{note: warning("VolumeMismatch", "Cannot bind to requested volume %q: %s", pv.Name, why)}
	}
	switch {
	case pv.Spec.ClaimRef != nil && !refersTo(pv.Spec.ClaimRef, claim):
		return decision{note: warning("FailedBinding", "volume %q already bound to a different claim.", pv.Name)}
	case tooSmall(pv, claim):
		return cannot("requested PV is too small")
	case pv.Spec.StorageClassName != ptr.Deref(claim.Spec.StorageClassName, ""):
		return cannot("storageClassName does not match")
	case isBlock(pv.Spec.VolumeMode) != isBlock(claim.Spec.VolumeMode):
		return cannot("incompatible volumeMode")
	case !offers(pv, claim):
		return cannot("incompatible accessMode")
	}
	return decision{bind: pv}
}

// match finds the volume that is made for the claim, else the smallest that will do;
// with onlyMade no other than the former.
func match(claim *corev1.PersistentVolumeClaim, w world, onlyMade bool) *corev1.PersistentVolume {
	selector := labels.Everything()
	if claim.Spec.Selector != nil {
		var err error
		if selector, err = metav1.LabelSelectorAsSelector(claim.Spec.Selector); err != nil {
			return nil
		}
	}
	var best *corev1.PersistentVolume
	for _, pv := range w.volumes {
		if pv.DeletionTimestamp != nil || isBlock(pv.Spec.VolumeMode) != isBlock(claim.Spec.VolumeMode) || tooSmall(pv, claim) {
			continue
		}
		if !isHere(pv, w.node) {
			continue
		}
		if ref := pv.Spec.ClaimRef; ref != nil {
			if refersTo(ref, claim) {
				return pv
			}
			continue
		}
		if onlyMade || pv.Status.Phase != corev1.VolumeAvailable || !selector.Matches(labels.Set(pv.Labels)) ||
			pv.Spec.StorageClassName != ptr.Deref(claim.Spec.StorageClassName, "") || !offers(pv, claim) {
			continue
		}
		if best == nil || pv.Spec.Capacity.Storage().Cmp(*best.Spec.Capacity.Storage()) < 0 {
			best = pv
		}
	}
	return best
}

// refersTo tells whether a volume is the claim's, or reserved for one of its name.
func refersTo(ref *corev1.ObjectReference, claim *corev1.PersistentVolumeClaim) bool {
	return ref.Namespace == claim.Namespace && ref.Name == claim.Name && (ref.UID == "" || ref.UID == claim.UID)
}

func tooSmall(pv *corev1.PersistentVolume, claim *corev1.PersistentVolumeClaim) bool {
	return pv.Spec.Capacity.Storage().Cmp(*claim.Spec.Resources.Requests.Storage()) < 0
}

func offers(pv *corev1.PersistentVolume, claim *corev1.PersistentVolumeClaim) bool {
	return !slices.ContainsFunc(claim.Spec.AccessModes, func(m corev1.PersistentVolumeAccessMode) bool {
		return !slices.Contains(pv.Spec.AccessModes, m)
	})
}

// isHere tells whether a volume can be used on a node with these labels. (Kubernetes'
// own helper for it brings a client and the types of all API groups along.)
func isHere(pv *corev1.PersistentVolume, labels map[string]string) bool {
	if pv.Spec.NodeAffinity == nil || pv.Spec.NodeAffinity.Required == nil {
		return true
	}
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Labels: labels}}
	here, err := scheduling.MatchNodeSelectorTerms(node, pv.Spec.NodeAffinity.Required)
	return here && err == nil
}

func isBlock(mode *corev1.PersistentVolumeMode) bool {
	return mode != nil && *mode == corev1.PersistentVolumeBlock
}

// phaseOf is that of a volume whose claim exists, or not.
func phaseOf(pv *corev1.PersistentVolume, claimed bool) corev1.PersistentVolumePhase {
	switch {
	case pv.Spec.ClaimRef == nil || pv.Spec.ClaimRef.UID == "":
		return corev1.VolumeAvailable
	case claimed:
		return corev1.VolumeBound
	case pv.Spec.PersistentVolumeReclaimPolicy != corev1.PersistentVolumeReclaimRetain && pv.Annotations[annProvisioner] != Provisioner:
		return corev1.VolumeFailed
	}
	return corev1.VolumeReleased
}
