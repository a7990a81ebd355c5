// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/validation/field"
	upstream "k8s.io/kubernetes/pkg/apis/core/v1"
	"k8s.io/kubernetes/pkg/apis/core/validation"
	"k8s.io/utils/ptr"

	"github.com/minikubelet/minikubelet/api"
	"github.com/minikubelet/minikubelet/store"
)

func nodeKind() *kind {
	k := declare[corev1.Node, corev1.NodeList](&kind{
		version: "v1", name: "nodes", singular: "node", kind: "Node", short: []string{"no"}, verbs: []string{"get", "list", "patch", "update", "watch"},
		strategy: nodeStrategy(),
		types:    corev1.AddToScheme,
		columns: []metav1.TableColumnDefinition{
			column("Name", "string", 0, "Name of the node."),
			column("Status", "string", 0, "Whether it is ready."),
			column("Roles", "string", 0, "What it is for."),
			column("Age", "string", 0, "Time since it was first started."),
			column("Version", "string", 0, "Version of the API that it serves."),
			column("Internal-IP", "string", 1, "Address in its network."),
			column("External-IP", "string", 1, "Address from outside."),
			column("OS-Image", "string", 1, "Operating system."),
			column("Kernel-Version", "string", 1, "Kernel."),
			column("Container-Runtime", "string", 1, "Container runtime."),
		},
		cells: func(o store.Object) []any { return nodeCells(o.(*corev1.Node)) },
		fields: func(o store.Object) fields.Set {
			return fields.Set{"spec.unschedulable": strconv.FormatBool(o.(*corev1.Node).Spec.Unschedulable)}
		},
	})
	k.subresources = []subresource{nodeProxy(), k.statusBy(func(o, old store.Object) (field.ErrorList, []string) {
		n := o.(*corev1.Node)
		n.Spec = old.(*corev1.Node).Spec
		return nodeRules().Update(n, old), nil
	})}
	return k
}

func nodeRules() api.Rules {
	return api.RulesOf(upstream.SetObjectDefaults_Node, upstream.Convert_v1_Node_To_core_Node, validation.ValidateNode, validation.ValidateNodeUpdate)
}

// nodeStrategy keeps the status, and the taint that goes with a cordon.
func nodeStrategy() *strategy {
	return byRules(nodeRules(), func(o, old store.Object) {
		n := o.(*corev1.Node)
		if old != nil {
			old.(*corev1.Node).Status.DeepCopyInto(&n.Status)
		}
		isCordon := func(t corev1.Taint) bool {
			return t.Key == corev1.TaintNodeUnschedulable && t.Effect == corev1.TaintEffectNoSchedule
		}
		switch tainted := slices.ContainsFunc(n.Spec.Taints, isCordon); {
		case n.Spec.Unschedulable && !tainted:
			n.Spec.Taints = append(n.Spec.Taints, corev1.Taint{
				Key: corev1.TaintNodeUnschedulable, Effect: corev1.TaintEffectNoSchedule, TimeAdded: ptr.To(metav1.Now().Rfc3339Copy()),
			})
		case !n.Spec.Unschedulable && tainted:
			n.Spec.Taints = slices.DeleteFunc(n.Spec.Taints, isCordon)
		}
	})
}

// labelRole begins the labels that name a node's roles.
const labelRole = "node-role.kubernetes.io/"

func nodeCells(n *corev1.Node) []any {
	status := "Unknown"
	for _, c := range n.Status.Conditions {
		switch {
		case c.Type != corev1.NodeReady:
		case c.Status == corev1.ConditionTrue:
			status = "Ready"
		default:
			status = "NotReady"
		}
	}
	if n.Spec.Unschedulable {
		status += ",SchedulingDisabled"
	}
	var roles []string
	for label := range n.Labels {
		if role, ok := strings.CutPrefix(label, labelRole); ok && role != "" {
			roles = append(roles, role)
		}
	}
	slices.Sort(roles)
	address := func(kind corev1.NodeAddressType) string {
		for _, a := range n.Status.Addresses {
			if a.Type == kind {
				return a.Address
			}
		}
		return none
	}
	i := n.Status.NodeInfo
	return []any{
		n.Name, status, orNone(strings.Join(roles, ",")), age(n.CreationTimestamp), i.KubeletVersion,
		address(corev1.NodeInternalIP), address(corev1.NodeExternalIP), i.OSImage, i.KernelVersion, i.ContainerRuntimeVersion,
	}
}
