// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/minikubelet/minikubelet/store"
)

// gcFinalizers are the finalizers of an object that is deleted with options: those
// of others, and the garbage collector's for the policy that counts, which is the
// options', else the one that a finalizer has asked for, else background.
func gcFinalizers(o store.Object, options *metav1.DeleteOptions) []string {
	orphan := slices.Contains(o.GetFinalizers(), metav1.FinalizerOrphanDependents)
	foreground := !orphan && slices.Contains(o.GetFinalizers(), metav1.FinalizerDeleteDependents)
	//lint:ignore SA1019 old clients set it
	switch old := options.OrphanDependents; {
	case old != nil:
		orphan, foreground = *old, false
	case options.PropagationPolicy != nil:
		orphan = *options.PropagationPolicy == metav1.DeletePropagationOrphan
		foreground = *options.PropagationPolicy == metav1.DeletePropagationForeground
	}
	out := slices.DeleteFunc(slices.Clone(o.GetFinalizers()), func(f string) bool {
		return f == metav1.FinalizerOrphanDependents || f == metav1.FinalizerDeleteDependents
	})
	if orphan {
		out = append(out, metav1.FinalizerOrphanDependents)
	}
	if foreground {
		out = append(out, metav1.FinalizerDeleteDependents)
	}
	return out
}

// markDeleting marks an object that has finalizers as deleted; false when it is
// marked so already.
func markDeleting(o store.Object) bool {
	if o.GetDeletionTimestamp() != nil {
		return false
	}
	now := metav1.Now().Rfc3339Copy()
	o.SetDeletionTimestamp(&now)
	o.SetDeletionGracePeriodSeconds(ptr.To[int64](0))
	if g := o.GetGeneration(); g > 0 {
		o.SetGeneration(g + 1)
	}
	return true
}

// finished tells an object that is deleted and has nothing left to wait for. Of
// Pods only those are that the node never took: who runs a Pod removes it.
func finished(o store.Object) bool {
	if o.GetDeletionTimestamp() == nil || len(o.GetFinalizers()) > 0 {
		return false
	}
	switch o := o.(type) {
	case *corev1.Pod:
		return o.Spec.NodeName == ""
	case *corev1.Namespace:
		return len(o.Spec.Finalizers) == 0
	}
	return true
}
