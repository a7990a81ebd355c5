// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/minikubelet/minikubelet/api"
	"github.com/minikubelet/minikubelet/store"
)

// removeRunObjects removes what runs brought besides Pods, but for what leads to data.
func removeRunObjects(s *store.Store) error {
	var errs []error
	for _, kind := range api.ManifestKinds() {
		list, err := objectsOf(s, &kind)
		errs = append(errs, err)
		for _, o := range list {
			if run := o.GetAnnotations()[annotationRun]; run != "" {
				errs = append(errs, removeRunObject(s, &kind, o, run))
			}
		}
	}
	return errors.Join(errs...)
}

func removeRunObject(s *store.Store, kind *api.ManifestKind, o api.Meta, run string) error {
	stays := kind.Stays(o)
	if kind.Kind == "Namespace" {
		var err error
		if stays, err = hasData(s, o.GetName()); err != nil {
			return err
		}
	}
	switch {
	case stays:
		keep(o, run)
		return s.Update(kind.Resource, o)
	case kind.KeepsData():
		return removeObject(s, kind, o)
	}
	return s.Delete(kind.Resource, o)
}

// addRunObjects stores what a run's Pods use. A namespace that is there already
// serves as it is; what an earlier run has left for its data is taken over, unless it
// is not what is asked for; any other object that is there is an error.
func addRunObjects(s *store.Store, objects []api.Object) error {
	for _, kind := range api.ManifestKinds() {
		for i := range objects {
			if objects[i].Kind.Kind != kind.Kind {
				continue
			}
			o := objects[i].Other.DeepCopyObject().(api.Meta)
			annotate(o, map[string]string{annotationRun: metav1.Now().UTC().Format("2006-01-02T15:04:05Z")})
			err := createObject(s, &kind, o)
			if apierrors.IsAlreadyExists(err) {
				have := kind.New()
				if err := s.Get(kind.Resource, o.GetNamespace(), o.GetName(), have); err != nil {
					return err
				}
				if reused, why := reuse(&kind, o, have); reused {
					err = why
					if err == nil && kind.KeepsData() {
						err = s.Update(kind.Resource, o)
					}
				}
			}
			if err != nil {
				return fmt.Errorf("%s %s/%s: %w", kind.Kind, o.GetNamespace(), o.GetName(), err)
			}
		}
	}
	return nil
}

// reuse tells whether a stored object serves a run that asks for one of its name, and
// why it does not. What leads to data is completed so that it can take its place.
func reuse(kind *api.ManifestKind, o, have api.Meta) (bool, error) {
	if kind.Kind == "Namespace" {
		return true, nil
	}
	if !kind.KeepsData() || !isKept(have) || have.GetDeletionTimestamp() != nil {
		return false, nil
	}
	return true, kind.TakeOver(o, have).ToAggregate()
}

// noteStaying says what of a run's objects outlives it.
func noteStaying(objects []api.Object, c *Console) {
	for i := range objects {
		if o := objects[i].Other; o != nil && objects[i].Kind.Stays(o) {
			c.note(besideObject{resource: objects[i].Kind.Resource, namespace: o.GetNamespace(), name: o.GetName()}.String() + " stays with its data when the run is over")
		}
	}
}
