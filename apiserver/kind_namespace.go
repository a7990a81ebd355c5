// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"errors"
	"fmt"
	"net/http"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/minikubelet/minikubelet/api"
	"github.com/minikubelet/minikubelet/store"
)

// namespaces is the resource of namespaces.
const namespaces = "namespaces"

func namespaceKind(s *Server) *kind {
	k := declare[corev1.Namespace, corev1.NamespaceList](&kind{
		version: "v1", name: namespaces, singular: "namespace", kind: "Namespace", short: []string{"ns"},
		verbs:    []string{"create", "delete", "get", "list", "patch", "update", "watch"},
		strategy: namespaceStrategy(s), admit: (*Server).admitNamespace,
		types: corev1.AddToScheme,
		columns: []metav1.TableColumnDefinition{
			column("Name", "string", 0, "Name of the namespace."),
			column("Status", "string", 0, "Active or Terminating."),
			column("Age", "string", 0, "Time since its creation."),
		},
		cells: func(o store.Object) []any {
			return []any{o.GetName(), string(o.(*corev1.Namespace).Status.Phase), age(o.GetCreationTimestamp())}
		},
		fields: func(o store.Object) fields.Set {
			return fields.Set{"status.phase": string(o.(*corev1.Namespace).Status.Phase)}
		},
	})
	k.subresources = []subresource{
		k.statusBy(func(o, old store.Object) (field.ErrorList, []string) {
			n, before := o.(*corev1.Namespace), old.(*corev1.Namespace)
			n.Spec = before.Spec
			return api.NamespaceRules().Update(n, before), nil
		}),
		k.finalize(),
	}
	return k
}

func namespaceStrategy(s *Server) *strategy {
	out := byRules(api.NamespaceRules(), func(o, old store.Object) {
		n := o.(*corev1.Namespace)
		if n.Labels == nil {
			n.Labels = make(map[string]string)
		}
		n.Labels[corev1.LabelMetadataName] = n.Name
		if old == nil {
			n.Status = corev1.NamespaceStatus{Phase: corev1.NamespaceActive}
			return
		}
		n.Spec.Finalizers, n.Status = old.(*corev1.Namespace).Spec.Finalizers, old.(*corev1.Namespace).Status
	})
	out.end = func(o store.Object, _ *int64) bool {
		n := o.(*corev1.Namespace)
		n.Status.Phase = corev1.NamespaceTerminating
		return markDeleting(n)
	}
	out.keep = s.keepNamespace
	return out
}

// keepNamespace refuses to delete a namespace that is always there, that has
// something from a file in it, or that is ending already.
func (s *Server) keepNamespace(o store.Object) error {
	n := o.(*corev1.Namespace)
	switch n.Name {
	case metav1.NamespaceDefault, metav1.NamespaceSystem, metav1.NamespacePublic:
		return apierrors.NewForbidden(corev1.Resource(namespaces), n.Name, errors.New("this namespace may not be deleted"))
	}
	if n.DeletionTimestamp != nil && len(n.Spec.Finalizers) > 0 {
		//lint:ignore ST1005 the text is Kubernetes'
		return apierrors.NewConflict(corev1.Resource(namespaces), n.Name, errors.New(
			"The system is ensuring all content is removed from this namespace.  Upon completion, this namespace will automatically be purged by the system."))
	}
	for _, k := range s.kinds {
		if !k.namespaced || !k.can("delete") {
			continue
		}
		_, err := s.cfg.Store.List(k.name, n.Name, func(data store.Data) error {
			in, err := k.decode(data)
			if err != nil {
				return err
			}
			if file := in.GetAnnotations()[annotationFile]; file != "" {
				return apierrors.NewForbidden(corev1.Resource(namespaces), n.Name,
					fmt.Errorf("%s %s in it comes from the manifest %s: change or remove that file", k.singular, in.GetName(), file))
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// finalize is …/namespaces/{name}/finalize, by which a controller takes its
// finalizer off.
func (k *kind) finalize() subresource {
	as := *k
	as.strategy = &strategy{update: func(o, old store.Object) (field.ErrorList, []string) {
		n, before := o.(*corev1.Namespace), old.(*corev1.Namespace)
		n.Status = before.Status
		return api.NamespaceFinalizeRules().Update(n, before), nil
	}}
	return subresource{
		name: "finalize", verbs: []string{"update"}, kind: k.gvk(),
		serve: func(s *Server, w http.ResponseWriter, r *http.Request, req request) error {
			return s.update(w, r, &as, req)
		},
	}
}

// namespaceOpen is why nothing may be created in an object's namespace.
func (s *Server) namespaceOpen(k *kind, o store.Object) error {
	if !k.namespaced {
		return nil
	}
	var n corev1.Namespace
	if err := s.cfg.Store.Get(namespaces, "", o.GetNamespace(), &n); err != nil {
		return err
	}
	if n.Status.Phase != corev1.NamespaceTerminating && n.DeletionTimestamp == nil {
		return nil
	}
	err := apierrors.NewForbidden(k.groupResource(), o.GetName(),
		fmt.Errorf("unable to create new content in namespace %s because it is being terminated", n.Name))
	err.ErrStatus.Details.Causes = append(slices.Clone(err.ErrStatus.Details.Causes), metav1.StatusCause{
		Type: corev1.NamespaceTerminatingCause, Message: fmt.Sprintf("namespace %s is being terminated", n.Name), Field: "metadata.namespace",
	})
	return err
}
