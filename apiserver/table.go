// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"net/url"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/minikubelet/minikubelet/store"
)

// tableOption says what a row carries of its object, and whether the columns are
// told.
type tableOption struct {
	include metav1.IncludeObjectPolicy
}

func tableOptions(q url.Values) tableOption {
	return tableOption{metav1.IncludeObjectPolicy(q.Get("includeObject"))}
}

// shape gives an object, which is the caller's own, the form wanted and its kind.
func shape(k *kind, f form, o store.Object, t tableOption) (runtime.Object, error) {
	switch f.as {
	case "Table":
		return table(k, []store.Object{o}, metav1.ListMeta{ResourceVersion: o.GetResourceVersion()}, t, true)
	case "PartialObjectMetadata", "PartialObjectMetadataList":
		return partial(o), nil
	}
	o.GetObjectKind().SetGroupVersionKind(k.gvk())
	return o, nil
}

// table makes the table that kubectl get prints.
func table(k *kind, objects []store.Object, m metav1.ListMeta, t tableOption, header bool) (*metav1.Table, error) {
	out := &metav1.Table{ListMeta: m, Rows: make([]metav1.TableRow, 0, len(objects))}
	out.SetGroupVersionKind(metav1.SchemeGroupVersion.WithKind("Table"))
	if header {
		out.ColumnDefinitions = k.columns
	}
	for _, o := range objects {
		out.Rows = append(out.Rows, metav1.TableRow{Cells: k.cells(o), Object: runtime.RawExtension{Object: t.carried(k, o)}})
	}
	return out, nil
}

// carried is what a row has of its object; nil for nothing.
func (t tableOption) carried(k *kind, o store.Object) runtime.Object {
	switch t.include {
	case metav1.IncludeNone:
		return nil
	case metav1.IncludeObject:
		o.GetObjectKind().SetGroupVersionKind(k.gvk())
		return o
	}
	return partial(o)
}

// partial is an object's metadata, which share what they have with it.
func partial(o store.Object) *metav1.PartialObjectMetadata {
	m := meta.AsPartialObjectMetadata(o)
	m.SetGroupVersionKind(metav1.SchemeGroupVersion.WithKind("PartialObjectMetadata"))
	return m
}
