// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilrand "k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/minikubelet/minikubelet/store"
)

const (
	// conflictsMax is how often a write without a resourceVersion of its own is
	// tried against a moving object.
	conflictsMax = 5
	// nameTries is how many generated names are tried.
	nameTries = 8
	// generatedMax is how much of generateName is used: 63 less the random part.
	generatedMax, generatedRandom = 58, 5
)

func (s *Server) create(w http.ResponseWriter, r *http.Request, k *kind, req request) error {
	f, err := s.codecs.negotiate(r)
	if err != nil {
		return err
	}
	dry, err := dryRun(r.URL.Query()["dryRun"])
	if err != nil {
		return err
	}
	manager, err := fieldManager(r)
	if err != nil {
		return err
	}
	o, warnings, err := s.decodeBody(r, k)
	if err != nil {
		return err
	}
	if req.name != "" {
		return apierrors.NewMethodNotSupported(k.groupResource(), "create")
	}
	if o.GetResourceVersion() != "" {
		return apierrors.NewBadRequest("resourceVersion should not be set on objects to be created")
	}
	if err := inNamespace(k, o, req); err != nil {
		return err
	}
	base := o.GetGenerateName()
	generate := o.GetName() == "" && base != ""
	for try := 1; ; try++ {
		if generate {
			o.SetName(base[:min(len(base), generatedMax)] + utilrand.String(generatedRandom))
		}
		out := o.DeepCopyObject().(store.Object)
		more, err := s.createNamed(r, k, out, dry, manager)
		if generate && apierrors.IsAlreadyExists(err) && try < nameTries {
			continue
		}
		if err != nil {
			return err
		}
		warn(w, append(warnings, more...))
		return s.answerObject(w, r, k, f, http.StatusCreated, out)
	}
}

func inNamespace(k *kind, o store.Object, req request) error {
	if !k.namespaced {
		return nil
	}
	if req.namespace == "" {
		return apierrors.NewBadRequest("an empty namespace may not be set during creation")
	}
	if o.GetNamespace() == "" {
		o.SetNamespace(req.namespace)
	}
	if o.GetNamespace() != req.namespace {
		return apierrors.NewBadRequest("the namespace of the provided object does not match the namespace sent on the request")
	}
	return nil
}

// createNamed completes and stores a new object. Its fields are the manager's; with
// none, an apply has noted already whose they are.
func (s *Server) createNamed(r *http.Request, k *kind, o store.Object, dry bool, manager string) ([]string, error) {
	o.SetUID(uuid.NewUUID())
	o.SetCreationTimestamp(metav1.Now().Rfc3339Copy())
	o.SetDeletionTimestamp(nil)
	o.SetDeletionGracePeriodSeconds(nil)
	o.SetGeneration(0)
	o.SetSelfLink("")
	// First of all, as in Kubernetes; and once more when nobody can close it.
	if err := s.namespaceOpen(k, o); err != nil {
		return nil, err
	}
	// What the server adds from now on is nobody's: an apply that takes over the sender's
	// fields must not take it away.
	sent := o.DeepCopyObject().(store.Object)
	if k.complete != nil {
		if err := k.complete(s, r, o); err != nil {
			return nil, err
		}
	}
	if k.strategy.admit != nil {
		if err := k.strategy.admit(o); err != nil {
			return nil, err
		}
	}
	errs, warnings := k.strategy.create(o)
	if errs = append(checkReserved(o.GetAnnotations(), nil), errs...); len(errs) > 0 {
		return nil, apierrors.NewInvalid(k.gvk().GroupKind(), o.GetName(), errs)
	}
	admitted, err := k.admitted(s, r, o, nil)
	if err != nil {
		return nil, err
	}
	warnings = append(admitted, warnings...)
	if err := s.withinLimits(k, o, nil, ""); err != nil {
		return nil, err
	}
	if err := s.manage(k, sent, k.object(), "", manager); err != nil {
		return nil, err
	}
	o.SetManagedFields(sent.GetManagedFields())
	s.creating.RLock()
	defer s.creating.RUnlock()
	if err := s.namespaceOpen(k, o); err != nil {
		return nil, err
	}
	settled, err := s.charge(k, o, nil, "")
	if err != nil {
		return nil, err
	}
	defer settled()
	if !dry {
		err := k.save(s.cfg.Store.Create, o)
		if err == nil && k.created != nil {
			k.created(s, o, sent)
		}
		return warnings, err
	}
	_, err = s.load(k, o.GetNamespace(), o.GetName())
	switch {
	case err == nil:
		return nil, apierrors.NewAlreadyExists(k.groupResource(), o.GetName())
	case apierrors.IsNotFound(err):
		return warnings, nil
	}
	return nil, err
}

func (s *Server) update(w http.ResponseWriter, r *http.Request, k *kind, req request) error {
	o, warnings, err := s.decodeBody(r, k)
	if err != nil {
		return err
	}
	if o.GetName() == "" {
		o.SetName(req.name)
	}
	if o.GetName() != req.name {
		return apierrors.NewBadRequest(fmt.Sprintf("the name of the object (%s) does not match the name on the URL (%s)", o.GetName(), req.name))
	}
	if err := inNamespace(k, o, req); err != nil {
		return err
	}
	manager, err := fieldManager(r)
	if err != nil {
		return err
	}
	replace := func() error {
		return s.modify(w, r, k, req, manager, func(store.Object) (store.Object, []string, error) {
			if k.versioned && o.GetResourceVersion() == "" {
				return nil, nil, apierrors.NewInvalid(schema.GroupKind{Group: k.group, Kind: k.name}, req.name, field.ErrorList{
					field.Invalid(field.NewPath("metadata", "resourceVersion"), 0, "must be specified for an update")})
			}
			return o.DeepCopyObject().(store.Object), warnings, nil
		})
	}
	if !k.makes {
		return replace()
	}
	return orNew(replace, func() error {
		if uid := o.GetUID(); uid != "" {
			return conflict(k, o, precondition("UID", uid, ""))
		}
		out := o.DeepCopyObject().(store.Object)
		out.SetResourceVersion("") // as in Kubernetes, the version of what is gone does not matter
		return s.createAt(w, r, k, req, out, manager, warnings)
	})
}

// orNew changes what is there or, when it is not, makes it; again, when others come
// between.
func orNew(change, create func() error) error {
	for try := 1; ; try++ {
		if err := change(); !apierrors.IsNotFound(err) {
			return err
		}
		if err := create(); !apierrors.IsAlreadyExists(err) || try == conflictsMax {
			return err
		}
		time.Sleep(time.Millisecond) // somebody else was faster
	}
}

// createAt makes the object that a request names which is no POST: who sends it needs
// the right to create, too. As for the manager, see createNamed.
func (s *Server) createAt(w http.ResponseWriter, r *http.Request, k *kind, req request, o store.Object, manager string, warnings []string) error {
	f, err := s.codecs.negotiate(r)
	if err != nil {
		return err
	}
	dry, err := dryRun(r.URL.Query()["dryRun"])
	if err != nil {
		return err
	}
	want := wanted(r, req, true)
	want.Verb = "create"
	if err := s.authorize(caller(r), want); err != nil {
		return err
	}
	o.SetName(req.name)
	if err := inNamespace(k, o, req); err != nil {
		return err
	}
	more, err := s.createNamed(r, k, o, dry, manager)
	if err != nil {
		return err
	}
	warn(w, append(warnings, more...))
	return s.answerObject(w, r, k, f, http.StatusCreated, o)
}

// modify replaces a stored object by what change makes of it, which may be the
// stored object's version or, to be tried again on conflicts, none. The changed
// fields are the manager's; see createNamed.
func (s *Server) modify(w http.ResponseWriter, r *http.Request, k *kind, req request, manager string, change func(old store.Object) (store.Object, []string, error)) error {
	f, err := s.codecs.negotiate(r)
	if err != nil {
		return err
	}
	dry, err := dryRun(r.URL.Query()["dryRun"])
	if err != nil {
		return err
	}
	for try := 1; ; try++ {
		old, err := s.load(k, req.namespace, req.name)
		if err != nil {
			return err
		}
		o, warnings, err := change(old.DeepCopyObject().(store.Object))
		if err != nil {
			return err
		}
		again := o.GetResourceVersion() == ""
		more, err := s.replace(r, k, o, old, req.subresource, manager, dry)
		if apierrors.IsConflict(err) && again && try < conflictsMax {
			continue
		}
		if err != nil {
			return err
		}
		warn(w, append(warnings, more...))
		return s.answerObject(w, r, k, f, http.StatusOK, o)
	}
}

// replace brings o in the place of old. Nothing is written when nothing has
// changed.
func (s *Server) replace(r *http.Request, k *kind, o, old store.Object, sub, manager string, dry bool) ([]string, error) {
	if uid := o.GetUID(); uid != "" && uid != old.GetUID() {
		return nil, conflict(k, old, precondition("UID", uid, old.GetUID()))
	}
	switch o.GetResourceVersion() {
	case "":
		o.SetResourceVersion(old.GetResourceVersion())
	case old.GetResourceVersion():
	default:
		return nil, conflict(k, old, errModified)
	}
	if err := k.refuse(old); err != nil && !k.strategy.open {
		return nil, err
	}
	o.SetUID(old.GetUID())
	o.SetCreationTimestamp(old.GetCreationTimestamp())
	o.SetDeletionTimestamp(old.GetDeletionTimestamp())
	o.SetDeletionGracePeriodSeconds(old.GetDeletionGracePeriodSeconds())
	o.SetGeneration(old.GetGeneration())
	o.SetGenerateName(old.GetGenerateName())
	o.SetSelfLink("")
	errs, warnings := k.strategy.update(o, old)
	if errs = append(checkReserved(o.GetAnnotations(), old.GetAnnotations()), errs...); len(errs) > 0 {
		return nil, apierrors.NewInvalid(k.gvk().GroupKind(), o.GetName(), errs)
	}
	admitted, err := k.admitted(s, r, o, old)
	if err != nil {
		return nil, err
	}
	warnings = append(admitted, warnings...)
	if err := s.withinLimits(k, o, old, sub); err != nil {
		return nil, err
	}
	if err := s.manage(k, o, old, sub, manager); err != nil {
		return nil, err
	}
	o.GetObjectKind().SetGroupVersionKind(k.gvk())
	old.GetObjectKind().SetGroupVersionKind(k.gvk())
	if apiequality.Semantic.DeepEqual(o, old) {
		return warnings, nil
	}
	settled, err := s.charge(k, o, old, sub)
	if err != nil {
		return nil, err
	}
	defer settled()
	if dry {
		return warnings, nil
	}
	if finished(o) {
		return warnings, k.save(s.cfg.Store.Delete, o)
	}
	return warnings, k.save(s.cfg.Store.Update, o)
}

var errModified = errors.New("the object has been modified; please apply your changes to the latest version and try again")

func conflict(k *kind, o store.Object, err error) error {
	return apierrors.NewConflict(k.groupResource(), o.GetName(), err)
}
