// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"fmt"
	"net/url"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/minikubelet/minikubelet/store"
)

// selection is which objects of a kind are meant.
type selection struct {
	namespace string
	labels    labels.Selector
	fields    fields.Selector
}

// selection reads the selectors of a query. A name in the path is one, too.
func (k *kind) selection(q url.Values, req request) (selection, error) {
	sel := selection{namespace: req.namespace}
	var err error
	if sel.labels, err = labels.Parse(q.Get("labelSelector")); err != nil {
		return sel, apierrors.NewBadRequest("unable to parse labelSelector: " + err.Error())
	}
	if sel.fields, err = fields.ParseSelector(q.Get("fieldSelector")); err != nil {
		return sel, apierrors.NewBadRequest("unable to parse fieldSelector: " + err.Error())
	}
	for _, f := range sel.fields.Requirements() {
		if !k.knowsField(f.Field) {
			return sel, apierrors.NewBadRequest(fmt.Sprintf("field label not supported: %s", f.Field))
		}
	}
	if req.name != "" {
		sel.fields = fields.AndSelectors(sel.fields, fields.OneTermEqualSelector("metadata.name", req.name))
	}
	return sel, nil
}

func (s selection) everything() bool { return s.labels.Empty() && s.fields.Empty() }

func (s selection) matches(k *kind, o store.Object) bool {
	return (s.namespace == "" || o.GetNamespace() == s.namespace) &&
		s.labels.Matches(labels.Set(o.GetLabels())) &&
		(s.fields.Empty() || s.fields.Matches(k.fieldSet(o)))
}
