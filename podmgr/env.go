// SPDX-License-Identifier: Apache-2.0

package podmgr

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/minikubelet/minikubelet/runtime/spec"
)

// environment has a container's variables, in the order in which they were first
// named, and the lookup for $(VAR) in commands and arguments.
type environment struct {
	names  []string
	values map[string]string
}

// envSources reads what an environment is made of beside the Pod.
type envSources struct {
	objects
	// ips are the Pod's addresses as far as they are known.
	ips []string
	// file reads a file of an emptyDir volume.
	file func(volume, path string) ([]byte, error)
}

// env makes a container's variables: those of envFrom, of which the last of a name
// wins, and over them those of env, whose $(VAR) refer to what came before and to
// the API's, and last the API's own, unless the container has others of these names.
// Errors are in the kubelet's words.
// https://kubernetes.io/docs/tasks/inject-data-application/define-interdependent-environment-variables/
func (n *NodeFacts) env(pod *corev1.Pod, c *corev1.Container, src envSources) (environment, error) {
	e := environment{values: make(map[string]string, len(c.Env))}
	for i := range c.EnvFrom {
		if err := e.addAll(pod.Namespace, &c.EnvFrom[i], src); err != nil {
			return e, err
		}
	}
	services := n.apiVariables()
	lookup := func(name string) (string, bool) {
		if value, ok := e.lookup(name); ok {
			return value, true
		}
		if i := slices.IndexFunc(services, func(v variable) bool { return v.name == name }); i >= 0 {
			return services[i].value, true
		}
		return "", false
	}
	for i := range c.Env {
		v := &c.Env[i]
		value, set := spec.Expand(v.Value, lookup), true
		if v.Value == "" && v.ValueFrom != nil {
			var err error
			if value, set, err = n.valueFrom(pod, c, v.ValueFrom, src); err != nil {
				return e, err
			}
		}
		if set {
			e.set(v.Name, value)
		}
	}
	for _, v := range services {
		if _, own := e.values[v.name]; !own {
			e.set(v.name, v.value)
		}
	}
	return e, e.check()
}

func (e *environment) set(name, value string) {
	if _, known := e.values[name]; !known {
		e.names = append(e.names, name)
	}
	e.values[name] = value
}

// addAll takes every key of an object, in the order of the alphabet. A ConfigMap's
// binaryData does not count.
func (e *environment) addAll(namespace string, from *corev1.EnvFromSource, src envSources) error {
	data := make(map[string]string)
	switch {
	case from.ConfigMapRef != nil:
		o, err := src.configMap(namespace, from.ConfigMapRef.Name)
		if err != nil && (!isAbsent(err) || !isOptional(from.ConfigMapRef.Optional)) {
			return err
		}
		data = o.Data
	case from.SecretRef != nil:
		o, err := src.secret(namespace, from.SecretRef.Name)
		if err != nil && (!isAbsent(err) || !isOptional(from.SecretRef.Optional)) {
			return err
		}
		for key, value := range o.Data {
			data[key] = string(value)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(data)) {
		e.set(from.Prefix+key, data[key])
	}
	return nil
}

// check refuses what the kernel would cut off or take for something else.
func (e *environment) check() error {
	for _, name := range e.names {
		if name == "" || strings.ContainsAny(name, "=\x00") {
			return fmt.Errorf("environment variable %q: a name must not be empty nor have '=' or a zero byte in it", name)
		}
		if strings.ContainsRune(e.values[name], 0) {
			return fmt.Errorf("environment variable %s: its value has a zero byte in it", name)
		}
	}
	return nil
}

// list has the variables as a process gets them.
func (e *environment) list() []string {
	out := make([]string, 0, len(e.names))
	for _, name := range e.names {
		out = append(out, name+"="+e.values[name])
	}
	return out
}

func (e *environment) lookup(name string) (string, bool) {
	v, ok := e.values[name]
	return v, ok
}

// expand replaces $(VAR) in each string.
func (e *environment) expand(in []string) []string {
	out := make([]string, len(in))
	for i, s := range in {
		out[i] = spec.Expand(s, e.lookup)
	}
	return out
}

// valueFrom reads a value; set is false when it is optional and not there.
func (n *NodeFacts) valueFrom(pod *corev1.Pod, c *corev1.Container, from *corev1.EnvVarSource, src envSources) (value string, set bool, err error) {
	switch {
	case from.FieldRef != nil:
		value, err = n.field(pod, from.FieldRef.FieldPath, src.ips)
	case from.ResourceFieldRef != nil:
		value, err = n.resourceField(pod, c, from.ResourceFieldRef)
	case from.ConfigMapKeyRef != nil:
		return configMapKey(pod.Namespace, from.ConfigMapKeyRef, src)
	case from.SecretKeyRef != nil:
		return secretKey(pod.Namespace, from.SecretKeyRef, src)
	case from.FileKeyRef != nil:
		return fileKey(from.FileKeyRef, src)
	default:
		err = errors.New("this source of a value is not supported")
	}
	return value, true, err
}

func configMapKey(namespace string, ref *corev1.ConfigMapKeySelector, src envSources) (string, bool, error) {
	optional := isOptional(ref.Optional)
	o, err := src.configMap(namespace, ref.Name)
	if err != nil {
		return "", false, unless(optional && isAbsent(err), err)
	}
	value, ok := o.Data[ref.Key]
	if !ok {
		return "", false, unless(optional, &missingError{fmt.Errorf("couldn't find key %v in ConfigMap %v/%v", ref.Key, namespace, ref.Name)})
	}
	return value, true, nil
}

func secretKey(namespace string, ref *corev1.SecretKeySelector, src envSources) (string, bool, error) {
	optional := isOptional(ref.Optional)
	o, err := src.secret(namespace, ref.Name)
	if err != nil {
		return "", false, unless(optional && isAbsent(err), err)
	}
	value, ok := o.Data[ref.Key]
	if !ok {
		return "", false, unless(optional, &missingError{fmt.Errorf("couldn't find key %v in Secret %v/%v", ref.Key, namespace, ref.Name)})
	}
	return string(value), true, nil
}

// fileKey reads one variable of a file. An empty value counts as none, and a file
// that cannot be read is an error even if it is optional: the kubelet's rules.
func fileKey(ref *corev1.FileKeySelector, src envSources) (string, bool, error) {
	data, err := src.file(ref.VolumeName, ref.Path)
	if err != nil {
		return "", false, fmt.Errorf("couldn't parse env file: %w", err)
	}
	value, err := parseEnvFile(string(data), ref.Key)
	if err != nil {
		return "", false, fmt.Errorf("couldn't parse env file: %q in volume %q: %w", ref.Path, ref.VolumeName, err)
	}
	if value == "" {
		return "", false, unless(isOptional(ref.Optional),
			fmt.Errorf("environment variable key %q not found in file %q of volume %q", ref.Key, ref.Path, ref.VolumeName))
	}
	return value, true, nil
}

func unless(harmless bool, err error) error {
	if harmless {
		return nil
	}
	return err
}

// expandSubPaths returns the container's mounts with each subPathExpr turned into
// the subPath that it stands for. Every variable in it must be known.
// https://kubernetes.io/docs/concepts/storage/volumes/#using-subpath-expanded-environment
func expandSubPaths(c *corev1.Container, env *environment) ([]corev1.VolumeMount, error) {
	var out []corev1.VolumeMount
	for i, m := range c.VolumeMounts {
		if m.SubPathExpr != "" {
			var err error
			if m.SubPath, err = spec.ExpandAll(m.SubPathExpr, env.lookup); err != nil {
				return nil, fmt.Errorf("volumeMounts[%d].subPathExpr: %w", i, err)
			}
			m.SubPathExpr = ""
		}
		out = append(out, m)
	}
	return out, nil
}
