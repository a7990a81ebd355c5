// SPDX-License-Identifier: Apache-2.0

package podmgr

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
)

// The store's names of the resources that Pods refer to.
const (
	ConfigMaps = "configmaps"
	Secrets    = "secrets"
	// TrustBundles are in no namespace.
	TrustBundles = "clustertrustbundles"
)

// objectKey names an object of the Pod's namespace, or one that is in none. Without a
// name it stands for all of the resource: those that a selector finds.
type objectKey struct{ resource, name string }

// references are what a Pod's volumes and environment come from.
type references struct {
	// volumes has the names of the volumes that show an object.
	volumes map[objectKey][]string
	// env has the objects that a container's environment is made of.
	env map[objectKey]bool
	// claims has the claims of persistent volumes.
	claims map[objectKey]bool
	// labels has the volumes that show the Pod's own labels or annotations.
	labels []string
	// written has all volumes whose files the agent writes.
	written map[string]bool
}

func referencesOf(pod *corev1.Pod) references {
	r := references{volumes: make(map[objectKey][]string), env: make(map[objectKey]bool), claims: make(map[objectKey]bool), written: make(map[string]bool)}
	for i := range pod.Spec.Volumes {
		r.addVolume(&pod.Spec.Volumes[i])
		if claim := claimOf(pod, &pod.Spec.Volumes[i]); claim != "" {
			r.claims[objectKey{Claims, claim}] = true
		}
	}
	for c := range Containers(pod) {
		r.addEnv(c)
	}
	return r
}

func (r *references) addVolume(v *corev1.Volume) {
	add := func(resource, name string) {
		key := objectKey{resource, name}
		r.volumes[key] = append(r.volumes[key], v.Name)
	}
	addFields := func(items []corev1.DownwardAPIVolumeFile) {
		for _, item := range items {
			if f := item.FieldRef; f != nil && isMutableField(f.FieldPath) {
				r.labels = append(r.labels, v.Name)
				return
			}
		}
	}
	r.written[v.Name] = v.ConfigMap != nil || v.Secret != nil || v.DownwardAPI != nil || v.Projected != nil
	switch {
	case v.ConfigMap != nil:
		add(ConfigMaps, v.ConfigMap.Name)
	case v.Secret != nil:
		add(Secrets, v.Secret.SecretName)
	case v.DownwardAPI != nil:
		addFields(v.DownwardAPI.Items)
	case v.Projected != nil:
		for _, s := range v.Projected.Sources {
			switch {
			case s.ConfigMap != nil:
				add(ConfigMaps, s.ConfigMap.Name)
			case s.Secret != nil:
				add(Secrets, s.Secret.Name)
			case s.DownwardAPI != nil:
				addFields(s.DownwardAPI.Items)
			case s.ClusterTrustBundle != nil:
				add(TrustBundles, ptr.Deref(s.ClusterTrustBundle.Name, ""))
			}
		}
	}
}

// isMutableField tells whether a field can change while the Pod runs.
func isMutableField(path string) bool {
	return strings.HasPrefix(path, "metadata.labels") || strings.HasPrefix(path, "metadata.annotations")
}

func (r *references) addEnv(c *corev1.Container) {
	for _, from := range c.EnvFrom {
		if from.ConfigMapRef != nil {
			r.env[objectKey{ConfigMaps, from.ConfigMapRef.Name}] = true
		}
		if from.SecretRef != nil {
			r.env[objectKey{Secrets, from.SecretRef.Name}] = true
		}
	}
	for _, e := range c.Env {
		if e.ValueFrom == nil {
			continue
		}
		if ref := e.ValueFrom.ConfigMapKeyRef; ref != nil {
			r.env[objectKey{ConfigMaps, ref.Name}] = true
		}
		if ref := e.ValueFrom.SecretKeyRef; ref != nil {
			r.env[objectKey{Secrets, ref.Name}] = true
		}
	}
}
