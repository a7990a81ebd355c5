// SPDX-License-Identifier: Apache-2.0

package podmgr

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/minikubelet/minikubelet/podmgr/plan"
	"github.com/minikubelet/minikubelet/store"
)

// RequestDeletion asks for the end of a Pod within a grace period in seconds, nil
// for the Pod's own. A period that is under way can be shortened, never
// prolonged, as in the Kubernetes API. A Pod that has no node goes at once: nobody has
// anything of it to end. That there is no such Pod is no error.
func RequestDeletion(s *store.Store, namespace, name string, seconds *int64) error {
	for {
		var pod corev1.Pod
		err := s.Get(Pods, namespace, name, &pod)
		if apierrors.IsNotFound(err) {
			return nil
		}
		if err != nil {
			return err
		}
		write := s.Update
		switch changed := AskToEnd(&pod, seconds); {
		case pod.Spec.NodeName == "" && len(pod.Finalizers) == 0:
			write = s.Delete
		case !changed:
			return nil
		}
		if err := write(Pods, &pod); !apierrors.IsConflict(err) {
			return err
		}
	}
}

// AskToEnd sets the deletion's time of a Pod, which is the caller's own; false when
// it is set to that or an earlier one already. See RequestDeletion.
func AskToEnd(pod *corev1.Pod, seconds *int64) bool {
	grace := gracePeriod(pod, seconds)
	if grace < 0 {
		grace = 1
	}
	// Times of the API have whole seconds: up, or the grace period is cut.
	at := metav1.NewTime(time.Now().Add(time.Second - 1).Add(plan.Seconds(grace)).Truncate(time.Second))
	if pod.DeletionTimestamp != nil && !at.Before(pod.DeletionTimestamp) {
		return false
	}
	pod.DeletionTimestamp, pod.DeletionGracePeriodSeconds = &at, &grace
	pod.Generation++
	return true
}

// gracePeriod is what is asked for, in seconds, or the Pod's own.
func gracePeriod(pod *corev1.Pod, seconds *int64) int64 {
	if seconds == nil {
		seconds = pod.Spec.TerminationGracePeriodSeconds
	}
	return ptr.Deref(seconds, corev1.DefaultTerminationGracePeriodSeconds)
}
