// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"slices"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/apimachinery/pkg/util/validation/field"
	sigsjson "sigs.k8s.io/json"

	"github.com/minikubelet/minikubelet/api"
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
	change, err := s.patcher(k, types.PatchType(media), data, how)
	if err != nil {
		return err
	}
	return s.modify(w, r, k, req, manager, func(old store.Object) (store.Object, []string, error) {
		old.GetObjectKind().SetGroupVersionKind(k.gvk())
		o, warnings, err := change(old)
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

// changer makes a new object of another, which it may not change, and warnings.
type changer func(old store.Object) (store.Object, []string, error)

// patcher makes of a patch what applies it to objects.
func (s *Server) patcher(k *kind, kind types.PatchType, patch []byte, how directive) (changer, error) {
	switch kind {
	case types.JSONPatchType, types.MergePatchType, types.StrategicMergePatchType:
	default:
		return nil, unsupportedMedia(string(kind))
	}
	var value any
	doubled, err := sigsjson.UnmarshalStrict(patch, &value, sigsjson.DisallowDuplicateFields)
	if err != nil {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("error decoding patch: %v", err))
	}
	if kind == types.JSONPatchType {
		apply, err := jsonPatcher(patch)
		return s.throughJSON(k, how, doubled, apply), err
	}
	fields, ok := value.(map[string]any)
	if !ok {
		return nil, apierrors.NewBadRequest("error decoding patch: it must be an object")
	}
	if kind == types.StrategicMergePatchType {
		return strategicPatcher(k, how, doubled, fields), nil
	}
	return s.throughJSON(k, how, doubled, func(data []byte) ([]byte, error) {
		out, err := jsonpatch.MergePatch(data, patch)
		if err != nil {
			return nil, unprocessable(err)
		}
		return out, nil
	}), nil
}

// throughJSON applies a patch that works on an object's JSON.
func (s *Server) throughJSON(k *kind, how directive, doubled []error, apply func([]byte) ([]byte, error)) changer {
	return func(old store.Object) (store.Object, []string, error) {
		before, err := json.Marshal(old)
		if err != nil {
			return nil, nil, err
		}
		after, err := apply(before)
		if err != nil {
			return nil, nil, err
		}
		o := k.object()
		warnings, err := s.decodeJSON(k, after, o, how, doubled)
		return o, warnings, err
	}
}

// strategicPatcher applies a patch to an object's fields, without a way through
// JSON: this is how most changes of a status come.
func strategicPatcher(k *kind, how directive, doubled []error, patch map[string]any) changer {
	converter := runtime.DefaultUnstructuredConverter
	return func(old store.Object) (store.Object, []string, error) {
		before, err := converter.ToUnstructured(old)
		if err != nil {
			return nil, nil, err
		}
		merged, err := strategicpatch.StrategicMergeMapPatch(before, runtime.DeepCopyJSON(patch), old)
		if err != nil {
			return nil, nil, unprocessable(err)
		}
		o, after := k.object(), map[string]any(merged)
		if err := api.SafeJSON(after, reflect.TypeOf(o)); err != nil {
			return nil, nil, cannotHandle(k, err)
		}
		strict := slices.Clone(doubled)
		err = converter.FromUnstructuredWithValidation(after, o, how != metav1.FieldValidationIgnore)
		if e, ok := runtime.AsStrictDecodingError(err); ok {
			strict, err = append(strict, e.Errors()...), nil
		}
		if err == nil && how == metav1.FieldValidationStrict && len(strict) > 0 {
			err = runtime.NewStrictDecodingError(strict)
		}
		if err != nil {
			return nil, nil, apierrors.NewInvalid(schema.GroupKind{}, "", field.ErrorList{field.Invalid(field.NewPath("patch"), fmt.Sprint(patch), err.Error())})
		}
		if o.GetObjectKind().GroupVersionKind() != k.gvk() {
			return nil, nil, apierrors.NewBadRequest("the kind and the version of an object cannot be changed")
		}
		if how == metav1.FieldValidationIgnore {
			strict = nil
		}
		return o, texts(strict), nil
	}
}

// jsonPatcher applies an RFC 6902 patch.
func jsonPatcher(patch []byte) (func([]byte) ([]byte, error), error) {
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
}

func unprocessable(err error) error {
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusUnprocessableEntity, Reason: metav1.StatusReasonInvalid,
		Message: "the server rejected our request due to an error in our request: " + err.Error(),
	}}
}
