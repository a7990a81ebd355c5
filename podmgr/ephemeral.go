// SPDX-License-Identifier: Apache-2.0

package podmgr

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"github.com/minikubelet/minikubelet/runtime"
	"github.com/minikubelet/minikubelet/runtime/spec"
)

// joinTarget puts an ephemeral container into the PID namespace of the container that
// it is to look at. All others stay as they are, and so does the container in a Pod
// whose containers share a PID namespace anyway.
func (w *worker) joinTarget(pod *corev1.Pod, name string, ns *spec.Namespaces) error {
	target := targetOf(pod, name)
	if target == "" || ns.PID != "" {
		return nil
	}
	found := false
	for _, s := range w.m.cfg.Runtime.Pod(w.uid) {
		if s.Name != target || s.Kind == runtime.KindSandbox {
			continue
		}
		found = true
		if s.State == runtime.StateRunning && s.PID != 0 {
			ns.PID = fmt.Sprintf("/proc/%d/ns/pid", s.PID)
			return nil
		}
	}
	if !found {
		return &configError{fmt.Errorf("unable to find target container %s", target)}
	}
	return fmt.Errorf("target container %s is not running; it is tried again", target)
}

// targetOf is the container that an ephemeral container looks at, empty if none or if
// it is of another kind.
func targetOf(pod *corev1.Pod, name string) string {
	for i := range pod.Spec.EphemeralContainers {
		if e := &pod.Spec.EphemeralContainers[i]; e.Name == name {
			return e.TargetContainerName
		}
	}
	return ""
}
