// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/uuid"

	"github.com/minikubelet/minikubelet/api"
	"github.com/minikubelet/minikubelet/store"
)

// fileObject is an object of a file that is no Pod.
type fileObject struct {
	path   string
	hash   types.UID // of the file's name and what it says
	object api.Object
}

func (f *fileObject) key() string {
	o := f.object.Other
	return f.object.Kind.Resource + " " + o.GetNamespace() + "/" + o.GetName()
}

// syncObjects makes the store's objects that are no Pods as the good files say.
func (m *manifests) syncObjects(paths []string) error {
	wanted := make(map[string]*fileObject)
	var errs []error
	for _, kind := range api.ManifestKinds() { // in the order in which they need each other
		for _, path := range paths {
			for i := range m.good[path].objects {
				f := &m.good[path].objects[i]
				if f.object.Kind.Kind != kind.Kind {
					continue
				}
				if other := wanted[f.key()]; other != nil {
					m.tell(path, fmt.Sprintf("%s: %s is already in %s; the first one is used", path, f.key(), other.path))
					continue
				}
				wanted[f.key()] = f
				errs = append(errs, m.bringObject(f))
			}
		}
	}
	kinds := api.ManifestKinds()
	slices.Reverse(kinds)
	for i := range kinds {
		errs = append(errs, m.endObjects(&kinds[i], wanted))
	}
	return errors.Join(errs...)
}

// bringObject adds an object, or takes a changed one over. What cannot be changed,
// like an immutable ConfigMap, is made anew.
func (m *manifests) bringObject(f *fileObject) error {
	kind, o := f.object.Kind, f.object.Other.DeepCopyObject().(api.Meta)
	marks := map[string]string{annotationSource: "file", annotationHash: string(f.hash), annotationFile: f.path}
	annotate(o, marks)
	have := kind.New()
	err := m.store.Get(kind.Resource, o.GetNamespace(), o.GetName(), have)
	switch {
	case apierrors.IsNotFound(err):
		return createObject(m.store, kind, o)
	case err != nil:
		return err
	case have.GetDeletionTimestamp() != nil || have.GetAnnotations()[annotationHash] == string(f.hash):
		return nil
	case have.GetAnnotations()[annotationFile] == "" && have.GetAnnotations()[annotationAutomatic] == "" && !isKept(have):
		m.tell(f.path, fmt.Sprintf("%s: there is already %s that is not from a file", f.path, f.key()))
		return nil
	}
	if mark := have.GetAnnotations()[annotationAutomatic]; mark != "" {
		annotate(o, map[string]string{annotationAutomatic: mark})
	}
	switch errs := kind.TakeOver(o, have); {
	case len(errs) == 0:
		return m.store.Update(kind.Resource, o)
	case kind.KeepsData():
		m.tell(f.path, fmt.Sprintf("%s: %s cannot be changed like this, and it is not made anew, for that would cost its data: %v", f.path, f.key(), errs.ToAggregate()))
		return nil
	}
	if err := m.store.Delete(kind.Resource, have); err != nil {
		return err
	}
	return createObject(m.store, kind, o)
}

func createObject(s *store.Store, kind *api.ManifestKind, o api.Meta) error {
	o.SetResourceVersion("")
	o.SetUID(uuid.NewUUID())
	o.SetCreationTimestamp(metav1.Now().Rfc3339Copy())
	if kind.Kind == "Namespace" {
		label(o)
	}
	return s.Create(kind.Resource, o)
}

// label gives a namespace the label of its name.
func label(o api.Meta) {
	labels := o.GetLabels()
	if labels == nil {
		labels = make(map[string]string)
	}
	labels[corev1.LabelMetadataName] = o.GetName()
	o.SetLabels(labels)
}

func annotate(o api.Meta, more map[string]string) {
	all := o.GetAnnotations()
	if all == nil {
		all = make(map[string]string)
	}
	for k, v := range more {
		all[k] = v
	}
	o.SetAnnotations(all)
}

// endObjects removes what no file has any more.
func (m *manifests) endObjects(kind *api.ManifestKind, wanted map[string]*fileObject) error {
	list, err := objectsOf(m.store, kind)
	if err != nil {
		return err
	}
	var errs []error
	for _, o := range list {
		file := o.GetAnnotations()[annotationFile]
		key := kind.Resource + " " + o.GetNamespace() + "/" + o.GetName()
		if file == "" || wanted[key] != nil || m.broken[file] || o.GetDeletionTimestamp() != nil {
			continue
		}
		errs = append(errs, m.endObject(kind, o))
	}
	return errors.Join(errs...)
}

// endObject removes an object. A namespace goes with its contents. What leads to data
// stays as nobody's, and so does its namespace, and one that is always there.
func (m *manifests) endObject(kind *api.ManifestKind, o api.Meta) error {
	what := kind.Resource + " " + strings.TrimPrefix(o.GetNamespace()+"/"+o.GetName(), "/")
	n, isNamespace := o.(*corev1.Namespace)
	if isNamespace && n.Annotations[annotationAutomatic] != "" {
		abandon(o)
		return m.store.Update(kind.Resource, o)
	}
	stays := kind.Stays(o)
	if isNamespace {
		var err error
		if stays, err = hasData(m.store, n.Name); err != nil {
			return err
		}
	}
	if stays {
		m.log.Warn("the manifest of an object is gone; it stays with its data until it is removed over the API", "object", what)
		keep(o, o.GetAnnotations()[annotationFile])
		return m.store.Update(kind.Resource, o)
	}
	m.log.Info("removing an object: its manifest is gone", "object", what)
	return removeObject(m.store, kind, o)
}

// removeObject removes an object, or marks it when others have to finish with it first.
func removeObject(s *store.Store, kind *api.ManifestKind, o api.Meta) error {
	n, isNamespace := o.(*corev1.Namespace)
	switch {
	case isNamespace:
		n.Status.Phase = corev1.NamespaceTerminating
	case len(o.GetFinalizers()) == 0:
		return s.Delete(kind.Resource, o)
	case o.GetDeletionTimestamp() != nil:
		return nil
	}
	now := metav1.Now().Rfc3339Copy()
	o.SetDeletionTimestamp(&now)
	return s.Update(kind.Resource, o)
}

// objectsOf are all objects of a kind, the caller's own.
func objectsOf(s *store.Store, kind *api.ManifestKind) ([]api.Meta, error) {
	var out []api.Meta
	_, err := s.List(kind.Resource, "", func(data store.Data) error {
		o := kind.New()
		out = append(out, o)
		return data.Into(o)
	})
	return out, err
}
