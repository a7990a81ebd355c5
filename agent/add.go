// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/uuid"

	"github.com/minikubelet/minikubelet/api"
	"github.com/minikubelet/minikubelet/apiserver"
	"github.com/minikubelet/minikubelet/podmgr"
)

// Add gives the node the objects of a manifest, defaulted and validated, and returns
// the Pods as they are in the store. At the first error it stops; what was added
// before stays.
func (a *Agent) Add(objects []api.Object) ([]*corev1.Pod, error) {
	isPod := func(o api.Object) bool { return o.Pod != nil }
	if err := addRunObjects(a.store, slices.DeleteFunc(slices.Clone(objects), isPod)); err != nil {
		return nil, err
	}
	var pods []*corev1.Pod
	for _, o := range objects {
		if !isPod(o) {
			continue
		}
		pod, err := a.AddPod(o.Pod)
		if err != nil {
			return pods, err
		}
		pods = append(pods, pod)
	}
	return pods, nil
}

// AddPod gives the node a Pod, defaulted and validated, which it does not change, and
// returns the Pod as it is in the store: with a new UID and bound to this node.
func (a *Agent) AddPod(pod *corev1.Pod) (*corev1.Pod, error) {
	pod, err := a.newPod(pod)
	if err != nil {
		return nil, err
	}
	if err := a.store.Create(podmgr.Pods, pod); err != nil {
		return nil, fmt.Errorf("pod %s/%s: %w", pod.Namespace, pod.Name, err)
	}
	return pod, nil
}

// newPod is the Pod as one of this node's own.
func (a *Agent) newPod(pod *corev1.Pod) (*corev1.Pod, error) {
	pod = pod.DeepCopy()
	pod.UID = uuid.NewUUID()
	pod.CreationTimestamp = metav1.Now()
	pod.Spec.NodeName = a.cfg.NodeName
	if err := apiserver.ResolveClasses(a.store, pod); err != nil {
		return nil, fmt.Errorf("pod %s/%s: %w", pod.Namespace, pod.Name, err)
	}
	return pod, nil
}
