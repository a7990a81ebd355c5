// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"net/http"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/minikubelet/minikubelet/api"
	"github.com/minikubelet/minikubelet/store"
)

// podEphemeralContainers is …/pods/{name}/ephemeralcontainers: the whole Pod, of which
// only spec.ephemeralContainers is written.
func podEphemeralContainers(cfg *Config) subresource {
	return podPart("ephemeralcontainers", func(p, old *corev1.Pod) (field.ErrorList, []string) {
		added := p.Spec.EphemeralContainers
		old.Spec.DeepCopyInto(&p.Spec)
		p.Spec.EphemeralContainers = added
		api.Default(p)
		errs := api.ValidateEphemeralContainers(p, old)
		refused, warnings := unsupported(p, cfg.NodeName)
		return append(errs, refused...), warnings
	})
}

// podPart is a subresource by which a part of a Pod is read and written. write takes
// over what a client may change there and checks it: p is what the client sent, with
// the metadata and the status of old.
func podPart(name string, write func(p, old *corev1.Pod) (field.ErrorList, []string)) subresource {
	update := func(o, before store.Object) (field.ErrorList, []string) {
		p, old := o.(*corev1.Pod), before.(*corev1.Pod)
		old.Status.DeepCopyInto(&p.Status)
		p.Labels, p.Annotations, p.Finalizers, p.OwnerReferences = old.Labels, old.Annotations, old.Finalizers, old.OwnerReferences
		errs, warnings := write(p, old)
		if !apiequality.Semantic.DeepEqual(p.Spec, old.Spec) {
			p.Generation++
		}
		return errs, warnings
	}
	return subresource{
		name: name, verbs: []string{"get", "patch", "update"}, kind: corev1.SchemeGroupVersion.WithKind("Pod"),
		serve: func(s *Server, w http.ResponseWriter, r *http.Request, req request) error {
			whole, _ := s.find(req)
			part := *whole
			part.strategy = &strategy{update: update}
			return s.servePart(w, r, &part, req)
		},
	}
}
