// SPDX-License-Identifier: Apache-2.0

package podmgr

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation"
)

// field reads a field of the Pod by the paths that Kubernetes documents.
// https://kubernetes.io/docs/concepts/workloads/pods/downward-api/
func (n *NodeFacts) field(pod *corev1.Pod, path string, ips []string) (string, error) {
	if kind, key, ok := subscript(path); ok {
		return labelOf(pod, path, kind, key)
	}
	switch path {
	case "metadata.name":
		return pod.Name, nil
	case "metadata.namespace":
		return pod.Namespace, nil
	case "metadata.uid":
		return string(pod.UID), nil
	case "metadata.labels":
		return allOf(pod.Labels), nil
	case "metadata.annotations":
		return allOf(pod.Annotations), nil
	case "spec.nodeName":
		return n.NodeName, nil
	case "spec.serviceAccountName":
		return pod.Spec.ServiceAccountName, nil
	case "status.hostIP":
		return first(n.HostIPs()), nil
	case "status.hostIPs":
		return strings.Join(n.HostIPs(), ","), nil
	case "status.podIP":
		return first(ips), nil
	case "status.podIPs":
		return strings.Join(ips, ","), nil
	}
	return "", fmt.Errorf("unsupported fieldPath: %v", path)
}

// labelOf is one label or annotation; one that is not there is empty.
func labelOf(pod *corev1.Pod, path, kind, key string) (string, error) {
	var values map[string]string
	name := key
	switch kind {
	case "metadata.labels":
		values = pod.Labels
	case "metadata.annotations":
		values, name = pod.Annotations, strings.ToLower(key)
	default:
		return "", fmt.Errorf("fieldPath %q does not support subscript", path)
	}
	if errs := validation.IsQualifiedName(name); len(errs) > 0 {
		return "", fmt.Errorf("invalid key subscript in %s: %s", path, strings.Join(errs, ";"))
	}
	return values[key], nil
}

// subscript splits metadata.labels['key'].
func subscript(path string) (kind, key string, ok bool) {
	kind, rest, ok := strings.Cut(path, "['")
	if !ok || kind == "" || !strings.HasSuffix(rest, "']") {
		return "", "", false
	}
	return kind, strings.TrimSuffix(rest, "']"), true
}

// allOf has labels or annotations as lines key="value", in order, with Go's escapes
// and no newline at the end.
func allOf(values map[string]string) string {
	lines := make([]string, 0, len(values))
	for _, key := range slices.Sorted(maps.Keys(values)) {
		lines = append(lines, key+"="+strconv.Quote(values[key]))
	}
	return strings.Join(lines, "\n")
}

func first(list []string) string {
	if len(list) == 0 {
		return ""
	}
	return list[0]
}

// resourceField reads a container's request or limit in units of the divisor,
// rounded up; c is the container when the selector names none. A missing limit of
// cpu, memory and ephemeral-storage is the Pod's own or what the node has to give.
func (n *NodeFacts) resourceField(pod *corev1.Pod, c *corev1.Container, ref *corev1.ResourceFieldSelector) (string, error) {
	if ref.ContainerName != "" && (c == nil || ref.ContainerName != c.Name) {
		c, _ = containerOf(pod, ref.ContainerName)
	}
	if c == nil {
		return "", fmt.Errorf("container %s not found", ref.ContainerName)
	}
	kind, rest, _ := strings.Cut(ref.Resource, ".")
	name := corev1.ResourceName(rest)
	usual := name == corev1.ResourceCPU || name == corev1.ResourceMemory || name == corev1.ResourceEphemeralStorage
	if !usual && !isHugePage(name) || kind != "limits" && kind != "requests" {
		return "", fmt.Errorf("unsupported container resource : %v", ref.Resource)
	}
	quantity := c.Resources.Requests[name]
	if kind == "limits" {
		if quantity = c.Resources.Limits[name]; quantity.IsZero() && usual {
			quantity = n.limitOfAll(pod, name)
		}
	}
	return divided(name, quantity, ref.Divisor), nil
}

// limitOfAll is what a container without a limit can have at most.
func (n *NodeFacts) limitOfAll(pod *corev1.Pod, name corev1.ResourceName) resource.Quantity {
	if r := pod.Spec.Resources; r != nil {
		if q, ok := r.Limits[name]; ok && !q.IsZero() {
			return q
		}
	}
	return n.Allocatable[name]
}

func divided(name corev1.ResourceName, quantity, divisor resource.Quantity) string {
	if divisor.IsZero() {
		divisor = resource.MustParse("1")
	}
	if name == corev1.ResourceCPU {
		return strconv.FormatInt(int64(math.Ceil(float64(quantity.MilliValue())/float64(divisor.MilliValue()))), 10)
	}
	return strconv.FormatInt(int64(math.Ceil(float64(quantity.Value())/float64(divisor.Value()))), 10)
}
