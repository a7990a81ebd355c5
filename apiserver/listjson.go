// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/minikubelet/minikubelet/store"
)

// Lists in JSON, as tables too, are made object by object: what one was decoded to is
// garbage before the next one is decoded. All of them at a time would have the
// collector look at them again and again.

// streams tells a form in which lists can be made like that.
func (f form) streams() bool { return f.info.MediaType == runtime.ContentTypeJSON && !f.pretty }

// tableRow is metav1.TableRow, but that its object need not be JSON before the row is.
type tableRow struct {
	Cells  []any          `json:"cells"`
	Object runtime.Object `json:"object"`
}

// listJSON answers with a page of objects.
func (s *Server) listJSON(w http.ResponseWriter, r *http.Request, k *kind, namespace string, f form, sel selection, p page) error {
	t := tableOptions(r.URL.Query())
	items := bodies.Get().(*body)
	encoder := json.NewEncoder(items)
	m, err := s.visit(k, namespace, sel, p, func(o store.Object) error {
		if len(items.bytes) > 0 {
			items.bytes[len(items.bytes)-1] = ',' // in the place of the newline
		}
		return encoder.Encode(listed(k, f, o, t))
	})
	if err != nil {
		return err
	}
	empty, err := shapeList(k, f, nil, m, t)
	if err != nil {
		return err
	}
	around, err := json.Marshal(empty)
	if err != nil {
		return apierrors.NewInternalError(err)
	}
	const none = "]}"
	head, ok := bytes.CutSuffix(around, []byte(none))
	if !ok {
		return apierrors.NewInternalError(fmt.Errorf("a list of %s does not end with its items", k.name))
	}
	items.sent(writeBody(w, r, http.StatusOK, mediaType(f), head, items.bytes, []byte(none)))
	return nil
}

// listed is an object, the caller's own, as a list or a table has it.
func listed(k *kind, f form, o store.Object, t tableOption) any {
	switch f.as {
	case "Table":
		return tableRow{k.cells(o), t.carried(k, o)}
	case "PartialObjectMetadata", "PartialObjectMetadataList":
		return partial(o)
	}
	o.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{}) // a typed list's items have none
	return o
}
