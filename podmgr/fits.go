// SPDX-License-Identifier: Apache-2.0

package podmgr

import (
	goruntime "runtime"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
	"k8s.io/klog/v2"

	"github.com/minikubelet/minikubelet/podmgr/plan"
)

// The store's name of nodes, and the annotation that says where a Pod comes from.
const (
	nodes            = "nodes"
	annotationSource = "kubernetes.io/config.source"
)

// NodeLabels are those that a node has always; as with the kubelet, two of them also have
// the names from before Kubernetes 1.14, which manifests still select by.
func NodeLabels(name string) map[string]string {
	return map[string]string{
		corev1.LabelHostname: name, corev1.LabelOSStable: goruntime.GOOS, corev1.LabelArchStable: goruntime.GOARCH,
		"beta.kubernetes.io/os": goruntime.GOOS, "beta.kubernetes.io/arch": goruntime.GOARCH,
	}
}

// node is the node's object, with its labels and taints. A run that nobody has served
// before has none in the store.
func (m *Manager) node() (*corev1.Node, error) {
	n := new(corev1.Node)
	err := m.cfg.Store.Get(nodes, "", m.cfg.NodeName, n)
	if apierrors.IsNotFound(err) {
		return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: m.cfg.NodeName, Labels: NodeLabels(m.cfg.NodeName)}}, nil
	}
	return n, err
}

// misplaced is why the node is not one that the Pod may be on, in the kubelet's words;
// nil when it is. Who placed the Pod does not matter: a Pod that names the node itself
// was asked by no scheduler. portTaken: another Pod has one of its ports of the host.
// Taints are not for Pods from manifests, and only those that also evict
// (pkg/kubelet/lifecycle/predicate.go).
func misplaced(node *corev1.Node, pod *corev1.Pod, portTaken bool) *plan.Refusal {
	if fits, err := nodeaffinity.GetRequiredNodeAffinity(pod).Match(node); err != nil || !fits {
		return predicate("NodeAffinity", "node(s) didn't match Pod's node affinity/selector")
	}
	if portTaken {
		return portsTaken()
	}
	if pod.Annotations[annotationSource] != "" {
		return nil
	}
	for i := range node.Spec.Taints {
		taint := &node.Spec.Taints[i]
		tolerated := func(by corev1.Toleration) bool { return by.ToleratesTaint(klog.Background(), taint, false) }
		if taint.Effect == corev1.TaintEffectNoExecute && !slices.ContainsFunc(pod.Spec.Tolerations, tolerated) {
			return predicate("TaintToleration", "node(s) had taints that the pod didn't tolerate")
		}
	}
	return nil
}

// portsTaken is why a Pod is refused whose port of the host another one has.
func portsTaken() *plan.Refusal {
	return predicate("NodePorts", "node(s) didn't have free ports for the requested pod ports")
}

func predicate(name, why string) *plan.Refusal {
	return &plan.Refusal{Reason: name, Message: "Predicate " + name + " failed: " + why}
}
