// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"fmt"
	"net/http"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/minikubelet/minikubelet/store"
)

// podEviction is …/pods/{name}/eviction, by which kubectl drain ends Pods. There are
// no PodDisruptionBudgets that could forbid it.
func podEviction() subresource {
	return subresource{
		name: "eviction", verbs: []string{"create"}, kind: policyv1.SchemeGroupVersion.WithKind("Eviction"),
		serve: func(s *Server, w http.ResponseWriter, r *http.Request, req request) error {
			e := new(policyv1.Eviction)
			if err := s.partBody(r, policyv1.SchemeGroupVersion, "Eviction", req, e); err != nil {
				return err
			}
			options := e.DeleteOptions
			if options == nil {
				options = new(metav1.DeleteOptions)
			}
			options.DryRun = append(options.DryRun, r.URL.Query()["dryRun"]...)
			k, _ := s.find(req)
			if _, _, err := s.end(k, req.namespace, req.name, options); err != nil {
				return err
			}
			return s.created(w, r)
		},
	}
}

// podBinding is …/pods/{name}/binding, by which a scheduler gives a Pod its node.
func podBinding() subresource {
	return subresource{
		name: "binding", verbs: []string{"create"}, kind: corev1.SchemeGroupVersion.WithKind("Binding"),
		serve: func(s *Server, w http.ResponseWriter, r *http.Request, req request) error {
			b := new(corev1.Binding)
			if err := s.partBody(r, coreV1, "Binding", req, b); err != nil {
				return err
			}
			dry, err := dryRun(r.URL.Query()["dryRun"])
			if err == nil {
				err = s.bind(req, b, dry)
			}
			if err != nil {
				return err
			}
			return s.created(w, r)
		},
	}
}

func (s *Server) bind(req request, b *corev1.Binding, dry bool) error {
	pods := corev1.Resource("pods")
	if b.Target.Kind != "" && b.Target.Kind != "Node" || b.Target.Name != s.cfg.NodeName {
		return apierrors.NewBadRequest(fmt.Sprintf("target: %s %q: this node is %q, and the only one", b.Target.Kind, b.Target.Name, s.cfg.NodeName))
	}
	var p corev1.Pod
	if err := s.cfg.Store.Get("pods", req.namespace, req.name, &p); err != nil {
		return err
	}
	switch {
	case b.UID != "" && b.UID != p.UID:
		return apierrors.NewConflict(pods, p.Name, precondition("UID", b.UID, p.UID))
	case p.DeletionTimestamp != nil:
		return apierrors.NewConflict(pods, p.Name, fmt.Errorf("pod %s is being deleted, cannot be assigned to a host", p.Name))
	case p.Spec.NodeName != "":
		return apierrors.NewConflict(pods, p.Name, fmt.Errorf("pod %v is already assigned to node %q", p.Name, p.Spec.NodeName))
	case len(p.Spec.SchedulingGates) > 0:
		return apierrors.NewConflict(pods, p.Name, fmt.Errorf("pod %v has non-empty .spec.schedulingGates", p.Name))
	case dry:
		return nil
	}
	p.Spec.NodeName = s.cfg.NodeName
	return s.cfg.Store.Update("pods", &p)
}

// partBody reads what is posted to a subresource; its name and namespace must be
// those of the path.
func (s *Server) partBody(r *http.Request, gv schema.GroupVersion, name string, req request, o store.Object) error {
	part := &kind{group: gv.Group, version: gv.Version, kind: name, name: req.resource, namespaced: true, object: func() store.Object { return o }}
	if _, _, err := s.decodeBody(r, part); err != nil {
		return err
	}
	if o.GetName() != "" && o.GetName() != req.name {
		return apierrors.NewBadRequest("name in URL does not match name in " + name + " object")
	}
	return inNamespace(part, o, req)
}

// created answers that something was done, with nothing to show.
func (s *Server) created(w http.ResponseWriter, r *http.Request) error {
	f, err := s.codecs.negotiate(r)
	if err != nil {
		return err
	}
	return s.answer(w, r, form{info: f.info, pretty: f.pretty}, http.StatusCreated, &metav1.Status{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Status: metav1.StatusSuccess, Code: http.StatusCreated,
	})
}
