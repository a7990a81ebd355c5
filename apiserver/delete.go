// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/minikubelet/minikubelet/store"
)

func (s *Server) delete(w http.ResponseWriter, r *http.Request, k *kind, req request) error {
	f, err := s.codecs.negotiate(r)
	if err != nil {
		return err
	}
	options, err := s.deleteOptions(r)
	if err != nil {
		return err
	}
	o, gone, err := s.end(k, req.namespace, req.name, options)
	if err != nil {
		return err
	}
	if gone {
		return s.answer(w, r, form{info: f.info, pretty: f.pretty}, http.StatusOK, &metav1.Status{
			TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Status: metav1.StatusSuccess,
			Details: &metav1.StatusDetails{Name: o.GetName(), Group: k.group, Kind: k.name, UID: o.GetUID()},
		})
	}
	return s.answerObject(w, r, k, f, http.StatusOK, o)
}

// end marks an object as ending, or removes it when that takes no time; it returns
// the object and whether it is gone.
func (s *Server) end(k *kind, namespace, name string, options *metav1.DeleteOptions) (o store.Object, gone bool, err error) {
	dry, err := dryRun(options.DryRun)
	if err != nil {
		return nil, false, err
	}
	if errs := validation.ValidateDeleteOptions(options); len(errs) > 0 {
		return nil, false, apierrors.NewInvalid(schema.GroupKind{Group: metav1.GroupName, Kind: "DeleteOptions"}, "", errs)
	}
	if k.name == namespaces { // no creation in it may be under way: see inNamespace
		s.creating.Lock()
		defer s.creating.Unlock()
	}
	for try := 1; ; try++ {
		o, err := s.load(k, namespace, name)
		if err != nil {
			return nil, false, err
		}
		if err := preconditions(k, o, options.Preconditions); err != nil {
			return nil, false, err
		}
		if err := s.mayEnd(k, o); err != nil {
			return nil, false, err
		}
		write, changed := s.mark(k, o, options)
		gone := write == nil
		if gone {
			write = s.cfg.Store.Delete
		}
		if dry || !changed {
			return o, gone, nil
		}
		if err = k.save(write, o); !apierrors.IsConflict(err) || try == conflictsMax {
			return o, gone, err
		}
	}
}

// mark marks an object as deleted and says how to write it, nil for removing it,
// and whether it has changed.
func (s *Server) mark(k *kind, o store.Object, options *metav1.DeleteOptions) (write func(string, store.Object) error, changed bool) {
	list := gcFinalizers(o, options)
	changed = !slices.Equal(list, o.GetFinalizers())
	o.SetFinalizers(list)
	pod, isPod := o.(*corev1.Pod)
	switch {
	case k.strategy.end != nil && !(isPod && pod.Spec.NodeName == ""):
		return s.cfg.Store.Update, k.strategy.end(o, options.GracePeriodSeconds) || changed
	case len(list) > 0:
		return s.cfg.Store.Update, markDeleting(o) || changed
	}
	return nil, true
}

// mayEnd is why an object must stay.
func (s *Server) mayEnd(k *kind, o store.Object) error {
	if err := k.refuse(o); err != nil {
		return err
	}
	if k.strategy.keep == nil {
		return nil
	}
	return k.strategy.keep(o)
}

func preconditions(k *kind, o store.Object, p *metav1.Preconditions) error {
	switch {
	case p == nil:
	case p.UID != nil && *p.UID != o.GetUID():
		return conflict(k, o, precondition("UID", *p.UID, o.GetUID()))
	case p.ResourceVersion != nil && *p.ResourceVersion != o.GetResourceVersion():
		return conflict(k, o, precondition("ResourceVersion", *p.ResourceVersion, o.GetResourceVersion()))
	}
	return nil
}

func precondition(what string, want, have any) error {
	//lint:ignore ST1005 the text is Kubernetes'
	return fmt.Errorf("Precondition failed: %s in precondition: %v, %s in object meta: %v", what, want, what, have)
}

// deleteCollection ends what the selectors select. Objects that must not be
// written stay, with a warning.
func (s *Server) deleteCollection(w http.ResponseWriter, r *http.Request, k *kind, req request) error {
	f, err := s.codecs.negotiate(r)
	if err != nil {
		return err
	}
	if req.namespace == "" && k.namespaced {
		return apierrors.NewMethodNotSupported(k.groupResource(), "deletecollection")
	}
	options, err := s.deleteOptions(r)
	if err != nil {
		return err
	}
	sel, err := k.selection(r.URL.Query(), req)
	if err != nil {
		return err
	}
	if err := validateListOptions(r.URL.Query(), false); err != nil {
		return err
	}
	objects, _, err := s.collect(k, req.namespace, sel, page{})
	if err != nil {
		return err
	}
	var ended []store.Object
	var warnings []string
	for _, o := range objects {
		now, _, err := s.end(k, o.GetNamespace(), o.GetName(), options)
		switch {
		case apierrors.IsNotFound(err):
		case apierrors.IsForbidden(err):
			warnings = append(warnings, err.Error())
		case err != nil:
			return err
		default:
			ended = append(ended, now)
		}
	}
	warn(w, warnings)
	version := strconv.FormatUint(s.cfg.Store.Revision(), 10)
	out, err := shapeList(k, f, ended, metav1.ListMeta{ResourceVersion: version}, tableOptions(r.URL.Query()))
	if err != nil {
		return err
	}
	return s.answer(w, r, f, http.StatusOK, out)
}
