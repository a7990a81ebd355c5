// SPDX-License-Identifier: Apache-2.0

package podmgr

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/minikubelet/minikubelet/runtime/spec"
)

// environment has a container's variables in the order of its spec, and the
// lookup for $(VAR) in commands and arguments.
type environment struct {
	list   []string
	values map[string]string
}

// env makes a container's variables. A later variable of the same name wins, and
// $(VAR) refers to those before it.
// https://kubernetes.io/docs/tasks/inject-data-application/define-interdependent-environment-variables/
func (n *NodeFacts) env(pod *corev1.Pod, c *corev1.Container, ips []string) (environment, error) {
	e := environment{values: make(map[string]string, len(c.Env))}
	for i, v := range c.Env {
		value := spec.Expand(v.Value, e.lookup)
		if v.ValueFrom != nil {
			var err error
			if value, err = n.valueFrom(pod, c, v.ValueFrom, ips); err != nil {
				return e, fmt.Errorf("env[%d] %s: %w", i, v.Name, err)
			}
		}
		e.values[v.Name] = value
	}
	seen := make(map[string]bool, len(c.Env))
	for _, v := range c.Env {
		if !seen[v.Name] {
			seen[v.Name] = true
			e.list = append(e.list, v.Name+"="+e.values[v.Name])
		}
	}
	return e, nil
}

func (e environment) lookup(name string) (string, bool) {
	v, ok := e.values[name]
	return v, ok
}

// expand replaces $(VAR) in each string.
func (e environment) expand(in []string) []string {
	out := make([]string, len(in))
	for i, s := range in {
		out[i] = spec.Expand(s, e.lookup)
	}
	return out
}

func (n *NodeFacts) valueFrom(pod *corev1.Pod, c *corev1.Container, from *corev1.EnvVarSource, ips []string) (string, error) {
	switch {
	case from.FieldRef != nil:
		return n.field(pod, from.FieldRef.FieldPath, ips)
	case from.ResourceFieldRef != nil:
		return n.resourceField(pod, c, from.ResourceFieldRef)
	}
	return "", fmt.Errorf("this source of a value is not supported")
}

// field reads a field of the Pod by the paths that Kubernetes documents.
// https://kubernetes.io/docs/concepts/workloads/pods/downward-api/
func (n *NodeFacts) field(pod *corev1.Pod, path string, ips []string) (string, error) {
	if kind, key, ok := subscript(path); ok {
		switch kind {
		case "metadata.labels":
			return pod.Labels[key], nil
		case "metadata.annotations":
			return pod.Annotations[key], nil
		}
	}
	switch path {
	case "metadata.name":
		return pod.Name, nil
	case "metadata.namespace":
		return pod.Namespace, nil
	case "metadata.uid":
		return string(pod.UID), nil
	case "spec.nodeName":
		return n.NodeName, nil
	case "spec.serviceAccountName":
		return pod.Spec.ServiceAccountName, nil
	case "status.hostIP":
		return first(n.HostIPs), nil
	case "status.hostIPs":
		return strings.Join(n.HostIPs, ","), nil
	case "status.podIP":
		return first(ips), nil
	case "status.podIPs":
		return strings.Join(ips, ","), nil
	}
	return "", fmt.Errorf("fieldPath %q is not supported", path)
}

// subscript splits metadata.labels['key'].
func subscript(path string) (kind, key string, ok bool) {
	kind, rest, ok := strings.Cut(path, "['")
	if !ok || !strings.HasSuffix(rest, "']") {
		return "", "", false
	}
	return kind, strings.TrimSuffix(rest, "']"), true
}

func first(list []string) string {
	if len(list) == 0 {
		return ""
	}
	return list[0]
}

// resourceField reads a container's request or limit in units of the divisor,
// rounded up. A missing limit is what the node has to give.
func (n *NodeFacts) resourceField(pod *corev1.Pod, c *corev1.Container, ref *corev1.ResourceFieldSelector) (string, error) {
	if ref.ContainerName != "" && ref.ContainerName != c.Name {
		if c, _ = containerOf(pod, ref.ContainerName); c == nil {
			return "", fmt.Errorf("container %q not found", ref.ContainerName)
		}
	}
	kind, name, _ := strings.Cut(ref.Resource, ".")
	list := c.Resources.Requests
	if kind == "limits" {
		list = c.Resources.Limits
	}
	quantity, ok := list[corev1.ResourceName(name)]
	if !ok && kind == "limits" {
		quantity = n.Allocatable[corev1.ResourceName(name)]
	}
	return divided(corev1.ResourceName(name), quantity, ref.Divisor), nil
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

// expandSubPaths returns the container's mounts with each subPathExpr turned into
// the subPath that it stands for. Every variable in it must be known.
// https://kubernetes.io/docs/concepts/storage/volumes/#using-subpath-expanded-environment
func (n *NodeFacts) expandSubPaths(pod *corev1.Pod, c *corev1.Container, ips []string) ([]corev1.VolumeMount, error) {
	var out []corev1.VolumeMount
	for i, m := range c.VolumeMounts {
		if m.SubPathExpr != "" {
			env, err := n.env(pod, c, ips)
			if err != nil {
				return nil, err
			}
			if m.SubPath, err = spec.ExpandAll(m.SubPathExpr, env.lookup); err != nil {
				return nil, fmt.Errorf("volumeMounts[%d].subPathExpr: %w", i, err)
			}
			m.SubPathExpr = ""
		}
		out = append(out, m)
	}
	return out, nil
}
