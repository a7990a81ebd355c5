// SPDX-License-Identifier: Apache-2.0

package podmgr

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// RuntimeClasses is the store's name of them.
const RuntimeClasses = "runtimeclasses"

// runtimeHandler is the handler that RuntimeClasses can name: the node has no other
// runtime.
const runtimeHandler = "runc"

// checkRuntime is why no sandbox can be made with the Pod's RuntimeClass. The class
// and its handler are looked up anew for each sandbox, as the kubelet does.
func (m *Manager) checkRuntime(pod *corev1.Pod) error {
	if pod.Spec.RuntimeClassName == nil || *pod.Spec.RuntimeClassName == "" {
		return nil
	}
	name := *pod.Spec.RuntimeClassName
	var class nodev1.RuntimeClass
	err := m.cfg.Store.Get(RuntimeClasses, "", name, &class)
	switch {
	case apierrors.IsNotFound(err):
		return fmt.Errorf("runtimeclass.node.k8s.io %q not found", name)
	case err != nil:
		return err
	case class.Handler != runtimeHandler:
		return fmt.Errorf("failed to get sandbox runtime: no runtime for %q is configured; the handler of RuntimeClass %q must be %q on this node", class.Handler, name, runtimeHandler)
	}
	return nil
}
