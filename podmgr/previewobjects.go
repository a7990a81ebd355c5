// SPDX-License-Identifier: Apache-2.0

package podmgr

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
)

// previewObjects stands for objects that a dry run does not look up: every key that
// the container asks for has a value that says where it comes from.
type previewObjects struct{ c *corev1.Container }

func (o previewObjects) configMap(_, name string) (*corev1.ConfigMap, error) {
	out := &corev1.ConfigMap{Data: make(map[string]string)}
	for _, e := range o.c.Env {
		if e.ValueFrom != nil && e.ValueFrom.ConfigMapKeyRef != nil && e.ValueFrom.ConfigMapKeyRef.Name == name {
			key := e.ValueFrom.ConfigMapKeyRef.Key
			out.Data[key] = fmt.Sprintf("<key %s of ConfigMap %s>", key, name)
		}
	}
	return out, nil
}

func (o previewObjects) secret(_, name string) (*corev1.Secret, error) {
	out := &corev1.Secret{Data: make(map[string][]byte)}
	for _, e := range o.c.Env {
		if e.ValueFrom != nil && e.ValueFrom.SecretKeyRef != nil && e.ValueFrom.SecretKeyRef.Name == name {
			key := e.ValueFrom.SecretKeyRef.Key
			out.Data[key] = fmt.Appendf(nil, "<key %s of Secret %s>", key, name)
		}
	}
	return out, nil
}

// envSources are placeholders. Variables of envFrom are known only from the object:
// a warning says that they are left out.
func (p *Preview) envSources(c *corev1.Container, ips []string) envSources {
	for _, from := range c.EnvFrom {
		switch {
		case from.ConfigMapRef != nil:
			p.Warnings = append(p.Warnings, fmt.Sprintf("container %s: the variables from ConfigMap %s are not shown", c.Name, from.ConfigMapRef.Name))
		case from.SecretRef != nil:
			p.Warnings = append(p.Warnings, fmt.Sprintf("container %s: the variables from Secret %s are not shown", c.Name, from.SecretRef.Name))
		}
	}
	files := func(volume, path string) ([]byte, error) {
		var text []byte
		for _, e := range c.Env {
			if e.ValueFrom != nil && e.ValueFrom.FileKeyRef != nil {
				if ref := e.ValueFrom.FileKeyRef; ref.VolumeName == volume && ref.Path == path {
					text = fmt.Appendf(text, "%s='<key %s of file %s in volume %s>'\n", ref.Key, ref.Key, path, volume)
				}
			}
		}
		return text, nil
	}
	return envSources{objects: previewObjects{c}, ips: ips, file: files}
}
