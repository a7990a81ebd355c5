// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"encoding/json"
	"fmt"
	"net/http"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/strategicpatch"

	"github.com/minikubelet/minikubelet/store"
)

const (
	// patchOps bounds the operations of a JSON patch, as kube-apiserver does, and
	// patchCopies those of them that may double the document.
	patchOps, patchCopies = 10000, 10
	// patchBytes bounds what the copies of a JSON patch can make of a document.
	patchBytes = 64 << 20
)

func (s *Server) patch(w http.ResponseWriter, r *http.Request, k *kind, req request) error {
	how, err := fieldValidation(r.URL.Query())
	if err != nil {
		return err
	}
	data, media, err := s.body(r)
	if err != nil {
		return err
	}
	if types.PatchType(media) == types.ApplyYAMLPatchType {
		return s.apply(w, r, k, req, data)
	}
	manager, err := fieldManager(r)
	if err != nil {
		return err
	}
	apply, err := patcher(k, types.PatchType(media), data)
	if err != nil {
		return err
	}
	return s.modify(w, r, k, req, manager, func(old store.Object) (store.Object, []string, error) {
		old.GetObjectKind().SetGroupVersionKind(k.gvk())
		before, err := json.Marshal(old)
		if err != nil {
			return nil, nil, err
		}
		after, err := apply(before)
		if err != nil {
			return nil, nil, err
		}
		o := k.object()
		warnings, err := s.decodeJSON(k, after, o, how, nil)
		if err != nil {
			return nil, nil, err
		}
		if o.GetName() != old.GetName() || o.GetNamespace() != old.GetNamespace() {
			return nil, nil, apierrors.NewBadRequest("the name and the namespace of an object cannot be changed")
		}
		if o.GetResourceVersion() == old.GetResourceVersion() && !namesVersion(data) {
			o.SetResourceVersion("") // the patch is for whatever version there is
		}
		return o, warnings, nil
	})
}

// namesVersion tells whether a patch asks for a version of the object.
func namesVersion(patch []byte) bool {
	var p struct {
		Metadata struct {
			ResourceVersion *string `json:"resourceVersion"`
		} `json:"metadata"`
	}
	return json.Unmarshal(patch, &p) == nil && p.Metadata.ResourceVersion != nil
}

// patcher makes of a patch what applies it to an object's JSON.
func patcher(k *kind, kind types.PatchType, patch []byte) (func([]byte) ([]byte, error), error) {
	switch kind {
	case types.JSONPatchType:
		p, err := jsonpatch.DecodePatch(patch)
		if err != nil {
			return nil, apierrors.NewBadRequest(err.Error())
		}
		copies := 0
		for i, op := range p {
			switch _, valued := op["value"]; op.Kind() {
			case "copy":
				copies++
			case "add", "replace", "test":
				if !valued { // which the library takes for granted
					return nil, apierrors.NewBadRequest(fmt.Sprintf("operation %d of the JSON patch (%s) has no value", i, op.Kind()))
				}
			}
		}
		if len(p) > patchOps || copies > patchCopies {
			return nil, apierrors.NewRequestEntityTooLargeError(fmt.Sprintf(
				"the allowed maximum operations in a JSON patch is %d, %d of them copies, got %d and %d", patchOps, patchCopies, len(p), copies))
		}
		return func(data []byte) ([]byte, error) {
			if (len(data)+len(patch))<<copies > patchBytes {
				return nil, apierrors.NewRequestEntityTooLargeError(fmt.Sprintf(
					"the %d copies of the JSON patch may make more than %d bytes of the object", copies, patchBytes))
			}
			out, err := p.Apply(data)
			if err != nil {
				return nil, unprocessable(err)
			}
			return out, nil
		}, nil
	case types.MergePatchType, types.StrategicMergePatchType:
		var object map[string]any
		if err := json.Unmarshal(patch, &object); err != nil {
			return nil, apierrors.NewBadRequest(fmt.Sprintf("error decoding patch: %v", err))
		}
		return func(data []byte) (out []byte, err error) {
			if kind == types.MergePatchType {
				out, err = jsonpatch.MergePatch(data, patch)
			} else {
				out, err = strategicpatch.StrategicMergePatch(data, patch, k.object())
			}
			if err != nil {
				return nil, unprocessable(err)
			}
			return out, nil
		}, nil
	}
	return nil, unsupportedMedia(string(kind))
}

func unprocessable(err error) error {
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusUnprocessableEntity, Reason: metav1.StatusReasonInvalid,
		Message: "the server rejected our request due to an error in our request: " + err.Error(),
	}}
}
