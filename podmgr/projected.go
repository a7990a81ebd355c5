// SPDX-License-Identifier: Apache-2.0

package podmgr

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"strings"

	corev1 "k8s.io/api/core/v1"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"

	"github.com/minikubelet/minikubelet/volumes"
)

// projector finds out what the files of a Pod's volumes are.
type projector struct {
	facts   *NodeFacts
	objects volumeObjects
	tokens  *podTokens // nil: no tokens are made
	pod     *corev1.Pod
	// immutable is told of each object that will not change any more.
	immutable func(objectKey)
}

// files are those of one volume of the types configMap, secret, downwardAPI and
// projected. Errors are in the kubelet's words.
func (p *projector) files(ctx context.Context, v *corev1.Volume) (volumes.Files, error) {
	switch {
	case v.ConfigMap != nil:
		s := v.ConfigMap
		return p.configMap(s.Name, s.Items, modeOf(s.DefaultMode), isOptional(s.Optional))
	case v.Secret != nil:
		s := v.Secret
		return p.secret(s.SecretName, s.Items, modeOf(s.DefaultMode), isOptional(s.Optional))
	case v.DownwardAPI != nil:
		return p.downward(v.DownwardAPI.Items, modeOf(v.DownwardAPI.DefaultMode))
	case v.Projected != nil:
		return p.projected(ctx, v)
	}
	return nil, fmt.Errorf("volume %q is not one whose files the agent writes", v.Name)
}

// projected joins the files of several sources; a later one wins.
func (p *projector) projected(ctx context.Context, v *corev1.Volume) (volumes.Files, error) {
	all, mode := make(volumes.Files), modeOf(v.Projected.DefaultMode)
	var errs []error
	for _, s := range v.Projected.Sources {
		var files volumes.Files
		var err error
		switch {
		case s.ConfigMap != nil:
			files, err = p.configMap(s.ConfigMap.Name, s.ConfigMap.Items, mode, isOptional(s.ConfigMap.Optional))
		case s.Secret != nil:
			files, err = p.secret(s.Secret.Name, s.Secret.Items, mode, isOptional(s.Secret.Optional))
		case s.DownwardAPI != nil:
			files, err = p.downward(s.DownwardAPI.Items, mode)
		case s.ServiceAccountToken != nil:
			files, err = p.token(ctx, v.Name, s.ServiceAccountToken, mode)
		case s.ClusterTrustBundle != nil:
			files, err = p.trustAnchors(s.ClusterTrustBundle, mode)
		default:
			err = errors.New("a source of the volume is not supported")
		}
		if err != nil {
			errs = append(errs, err)
		}
		maps.Copy(all, files)
	}
	return all, utilerrors.NewAggregate(errs)
}

func (p *projector) configMap(name string, items []corev1.KeyToPath, mode uint32, optional bool) (volumes.Files, error) {
	o, err := p.objects.configMap(p.pod.Namespace, name)
	if err != nil && (!isAbsent(err) || !optional) {
		return nil, err
	}
	p.seen(objectKey{ConfigMaps, name}, err == nil && isTrue(o.Immutable))
	data := make(map[string][]byte, len(o.Data)+len(o.BinaryData))
	maps.Copy(data, o.BinaryData)
	for key, value := range o.Data {
		data[key] = []byte(value)
	}
	return pick(data, items, mode, optional, "configmap references non-existent config key: %s")
}

func (p *projector) secret(name string, items []corev1.KeyToPath, mode uint32, optional bool) (volumes.Files, error) {
	o, err := p.objects.secret(p.pod.Namespace, name)
	if err != nil && (!isAbsent(err) || !optional) {
		return nil, err
	}
	p.seen(objectKey{Secrets, name}, err == nil && isTrue(o.Immutable))
	return pick(o.Data, items, mode, optional, "references non-existent secret key: %s")
}

func (p *projector) seen(key objectKey, immutable bool) {
	if immutable && p.immutable != nil {
		p.immutable(key)
	}
}

// pick takes all keys, or those that the items name.
func pick(data map[string][]byte, items []corev1.KeyToPath, mode uint32, optional bool, missing string) (volumes.Files, error) {
	files := make(volumes.Files, max(len(items), 1))
	if len(items) == 0 {
		for key, value := range data {
			files[key] = volumes.File{Data: value, Mode: mode}
		}
		return files, nil
	}
	for _, item := range items {
		value, ok := data[item.Key]
		if !ok && optional {
			continue
		}
		if !ok {
			return nil, &missingError{fmt.Errorf(missing, item.Key)}
		}
		f := volumes.File{Data: value, Mode: mode}
		if item.Mode != nil {
			f.Mode = modeOf(item.Mode)
		}
		files[item.Path] = f
	}
	return files, nil
}

// downward has fields of the Pod, and resources of its containers.
func (p *projector) downward(items []corev1.DownwardAPIVolumeFile, mode uint32) (volumes.Files, error) {
	files := make(volumes.Files, len(items))
	var errs []error
	for _, item := range items {
		f := volumes.File{Mode: mode}
		if item.Mode != nil {
			f.Mode = modeOf(item.Mode)
		}
		var value string
		var err error
		switch {
		case item.FieldRef != nil:
			value, err = p.facts.field(p.pod, item.FieldRef.FieldPath, nil)
		case item.ResourceFieldRef != nil:
			value, err = p.facts.resourceField(p.pod, nil, item.ResourceFieldRef)
		}
		if err != nil {
			errs = append(errs, err)
		}
		f.Data = []byte(value)
		files[item.Path] = f
	}
	return files, utilerrors.NewAggregate(errs)
}

// modeOf is a mode's bits; the API's default is in place.
func modeOf(mode *int32) uint32 {
	if mode == nil {
		return 0o644
	}
	return uint32(*mode)
}

// nested are, by volume, the directories below it on which a container mounts
// another one: read-only volumes must have them beforehand.
func nested(pod *corev1.Pod) map[string][]string {
	var out map[string][]string
	for c := range Containers(pod) {
		for _, inner := range c.VolumeMounts {
			outer := mountAround(c.VolumeMounts, inner.MountPath)
			if outer == nil || outer.SubPath != "" || outer.SubPathExpr != "" {
				continue
			}
			if out == nil {
				out = make(map[string][]string)
			}
			rel := strings.TrimPrefix(path.Clean(inner.MountPath), path.Clean(outer.MountPath))
			out[outer.Name] = append(out[outer.Name], strings.TrimPrefix(rel, "/"))
		}
	}
	return out
}

// mountAround is the innermost mount that a path lies in, not the path's own.
func mountAround(mounts []corev1.VolumeMount, at string) *corev1.VolumeMount {
	var found *corev1.VolumeMount
	at = path.Clean(at)
	for i := range mounts {
		m := path.Clean(mounts[i].MountPath)
		if m == at || m != "/" && !strings.HasPrefix(at, m+"/") {
			continue
		}
		if found == nil || len(m) > len(path.Clean(found.MountPath)) {
			found = &mounts[i]
		}
	}
	return found
}
