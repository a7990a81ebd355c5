// SPDX-License-Identifier: Apache-2.0

package podmgr

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/minikubelet/minikubelet/store"
	"github.com/minikubelet/minikubelet/volumes"
)

// The store's names of what persistent volumes are made of.
const (
	Claims            = "persistentvolumeclaims"
	PersistentVolumes = "persistentvolumes"
)

// bindingTime is how long a Pod's set-up waits for claims to be bound before it says
// that they are not: the binding begins when the Pod is seen.
const bindingTime = time.Second

// claimOf names the claim that a volume is of; "" when it is of none.
func claimOf(pod *corev1.Pod, v *corev1.Volume) string {
	switch {
	case v.PersistentVolumeClaim != nil:
		return v.PersistentVolumeClaim.ClaimName
	case v.Ephemeral != nil:
		return pod.Name + "-" + v.Name
	}
	return ""
}

// claimError says in the kubelet's words why a Pod's volume is not there yet.
type claimError struct {
	volume string
	err    error
}

func (e *claimError) Error() string {
	return fmt.Sprintf("Unable to attach or mount volumes: unmounted volumes=[%s], unattached volumes=[], failed to process volumes=[%s]: %v", e.volume, e.volume, e.err)
}
func (e *claimError) Unwrap() error { return e.err }

// findClaims finds what the Pod's claims are bound to, within bindingTime.
func (w *worker) findClaims(ctx context.Context, pod *corev1.Pod) (map[string]volumes.Claim, mountErrors) {
	found, errs := w.boundClaims(pod)
	if len(errs) == 0 {
		return found, nil
	}
	ctx, cancel := context.WithTimeout(ctx, bindingTime)
	defer cancel()
	changes := w.m.cfg.Store.Watch(Claims, w.m.cfg.Store.Revision())
	defer changes.Close()
	for {
		found, errs = w.boundClaims(pod)
		if len(errs) == 0 {
			return found, nil
		}
		if _, err := changes.Next(ctx); err != nil {
			return found, errs
		}
	}
}

func (w *worker) boundClaims(pod *corev1.Pod) (map[string]volumes.Claim, mountErrors) {
	found := make(map[string]volumes.Claim)
	var errs mountErrors
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		name := claimOf(pod, v)
		if name == "" {
			continue
		}
		claim, err := w.boundClaim(pod, v, name)
		if err != nil {
			errs = append(errs, &claimError{v.Name, err})
			continue
		}
		found[v.Name] = claim
	}
	return found, errs
}

func (w *worker) boundClaim(pod *corev1.Pod, v *corev1.Volume, name string) (volumes.Claim, error) {
	wrong := func(format string, args ...any) error {
		return fmt.Errorf("error processing PVC %s/%s: "+format, append([]any{pod.Namespace, name}, args...)...)
	}
	waiting := func(format string, args ...any) error { return &missingError{wrong(format, args...)} }
	var claim corev1.PersistentVolumeClaim
	err := w.m.cfg.Store.Get(Claims, pod.Namespace, name, &claim)
	switch {
	case apierrors.IsNotFound(err):
		return volumes.Claim{}, waiting("failed to fetch PVC from API server: persistentvolumeclaims %q not found", name)
	case err != nil:
		return volumes.Claim{}, err
	case v.Ephemeral != nil && !metav1.IsControlledBy(&claim, pod):
		return volumes.Claim{}, waiting("PVC %s/%s was not created for pod %s/%s (pod is not owner)", pod.Namespace, name, pod.Namespace, pod.Name)
	case claim.DeletionTimestamp != nil && claim.DeletionTimestamp.Before(&pod.CreationTimestamp):
		return volumes.Claim{}, waiting("PVC is being deleted")
	case claim.Status.Phase != corev1.ClaimBound || claim.Spec.VolumeName == "":
		return volumes.Claim{}, waiting("PVC is not bound")
	}
	for _, mode := range claim.Spec.AccessModes {
		if mode == corev1.ReadWriteOncePod && w.usedBefore(pod, name) {
			return volumes.Claim{}, errors.New("volume uses the ReadWriteOncePod access mode and is already in use by another pod")
		}
	}
	var pv corev1.PersistentVolume
	if err := w.m.cfg.Store.Get(PersistentVolumes, "", claim.Spec.VolumeName, &pv); err != nil {
		return volumes.Claim{}, wrong("failed to fetch PV %s from API server: %w", claim.Spec.VolumeName, err)
	}
	if r := pv.Spec.ClaimRef; r == nil || r.UID != claim.UID {
		return volumes.Claim{}, wrong("PV %s is not bound to it", pv.Name)
	}
	out := volumes.Claim{Name: pv.Name, ReadOnly: v.PersistentVolumeClaim != nil && v.PersistentVolumeClaim.ReadOnly}
	block, err := isBlock(pod, v, &pv)
	switch {
	case err != nil:
		return out, err
	case block && pv.Spec.Local == nil:
		return out, wrong("PV %s has volumeMode Block and is of a type that has no devices on this node; use local", pv.Name)
	case block:
		out.Device = pv.Spec.Local.Path
	case pv.Spec.HostPath != nil:
		out.HostPath = pv.Spec.HostPath
	case pv.Spec.Local != nil:
		out.Local = pv.Spec.Local.Path
	case pv.Spec.NFS != nil:
		s := pv.Spec.NFS
		out.NFS = &volumes.NFS{Server: s.Server, Path: s.Path, ReadOnly: s.ReadOnly, Options: pv.Spec.MountOptions}
	default:
		return out, wrong("PV %s is of a type that this node does not offer; use hostPath, local or nfs", pv.Name)
	}
	return out, nil
}

// isBlock tells whether a volume is a device. What containers do with it has to fit.
func isBlock(pod *corev1.Pod, v *corev1.Volume, pv *corev1.PersistentVolume) (bool, error) {
	mode := ptr.Deref(pv.Spec.VolumeMode, corev1.PersistentVolumeFilesystem)
	block := mode == corev1.PersistentVolumeBlock
	for c := range Containers(pod) {
		mounted := slices.ContainsFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool { return m.Name == v.Name })
		device := slices.ContainsFunc(c.VolumeDevices, func(d corev1.VolumeDevice) bool { return d.Name == v.Name })
		switch {
		case mounted && block:
			return block, fmt.Errorf("volume %s has volumeMode %s, but is specified in volumeMounts", v.Name, mode)
		case device && !block:
			return block, fmt.Errorf("volume %s has volumeMode %s, but is specified in volumeDevices", v.Name, mode)
		}
	}
	return block, nil
}

// usedBefore tells whether another Pod, that came before, has a claim's volume.
func (w *worker) usedBefore(pod *corev1.Pod, claim string) bool {
	used := false
	_, err := w.m.cfg.Store.List(Pods, pod.Namespace, func(data store.Data) error {
		var other corev1.Pod
		if err := data.Into(&other); err != nil {
			return err
		}
		if other.UID == pod.UID || other.Spec.NodeName == "" || other.Status.Phase == corev1.PodSucceeded || other.Status.Phase == corev1.PodFailed {
			return nil
		}
		before := other.CreationTimestamp.Before(&pod.CreationTimestamp) ||
			other.CreationTimestamp.Equal(&pod.CreationTimestamp) && other.UID < pod.UID
		for i := range other.Spec.Volumes {
			used = used || before && claimOf(&other, &other.Spec.Volumes[i]) == claim
		}
		return nil
	})
	return used || err != nil
}
