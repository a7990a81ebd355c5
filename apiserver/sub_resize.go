// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/minikubelet/minikubelet/api"
)

// podResize is …/pods/{name}/resize: the whole Pod, of which only the resources and
// their resize policies are written.
func podResize(s *Server) subresource {
	return podPart("resize", func(p, old *corev1.Pod) (field.ErrorList, []string) {
		keepResizes(p, old)
		api.Default(p)
		if err := limitDefaults(s.cfg.Store, p); err != nil {
			return field.ErrorList{field.InternalError(nil, err)}, nil
		}
		errs := api.ValidateResize(p, old)
		refused, warnings := unsupported(p, s.cfg.NodeName)
		return append(errs, refused...), warnings
	})
}

// keepResizes takes all from old but what a resize may change. Containers that are
// added, removed, renamed or moved stay as they are, for validation to tell.
func keepResizes(p, old *corev1.Pod) {
	if !sameNames(p.Spec.Containers, old.Spec.Containers) || !sameNames(p.Spec.InitContainers, old.Spec.InitContainers) {
		return
	}
	sent := p.Spec
	old.Spec.DeepCopyInto(&p.Spec)
	p.Spec.Resources = sent.Resources
	for _, list := range [][2][]corev1.Container{{p.Spec.Containers, sent.Containers}, {p.Spec.InitContainers, sent.InitContainers}} {
		for i := range list[0] {
			list[0][i].Resources, list[0][i].ResizePolicy = list[1][i].Resources, list[1][i].ResizePolicy
		}
	}
}

func sameNames(a, b []corev1.Container) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i].Name != b[i].Name {
			return false
		}
	}
	return true
}
