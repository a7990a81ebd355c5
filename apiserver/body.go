// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"reflect"
	"strconv"
	"unicode/utf8"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/ptr"
	sigsjson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"

	"github.com/minikubelet/minikubelet/api"
	"github.com/minikubelet/minikubelet/store"
)

// directive is what becomes of unknown and duplicate fields.
type directive string

func fieldValidation(q url.Values) (directive, error) {
	switch v := q.Get("fieldValidation"); v {
	case "":
		return metav1.FieldValidationWarn, nil
	case metav1.FieldValidationStrict, metav1.FieldValidationWarn, metav1.FieldValidationIgnore:
		return directive(v), nil
	default:
		return "", apierrors.NewBadRequest(fmt.Sprintf("fieldValidation: Unsupported value: %q: supported values: \"Ignore\", \"Strict\", \"Warn\"", v))
	}
}

// dryRun tells whether nothing is to be stored.
func dryRun(values []string) (bool, error) {
	for _, v := range values {
		if v != metav1.DryRunAll {
			return false, apierrors.NewBadRequest(fmt.Sprintf("dryRun: Unsupported value: %q: supported values: \"All\"", v))
		}
	}
	return len(values) > 0, nil
}

// body reads the request's body and its media type.
func (s *Server) body(r *http.Request) ([]byte, string, error) {
	data, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, "", err
	}
	header := r.Header.Get("Content-Type")
	if header == "" {
		return data, runtime.ContentTypeJSON, nil
	}
	kind, _, err := mime.ParseMediaType(header)
	if err != nil {
		return nil, "", unsupportedMedia(header)
	}
	return data, kind, nil
}

func unsupportedMedia(kind string) error {
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusUnsupportedMediaType, Reason: metav1.StatusReasonUnsupportedMediaType,
		Message: "the body of the request was in an unknown format - " + kind,
	}}
}

// decodeBody reads the object of a write, and warnings about it.
func (s *Server) decodeBody(r *http.Request, k *kind) (store.Object, []string, error) {
	how, err := fieldValidation(r.URL.Query())
	if err != nil {
		return nil, nil, err
	}
	data, media, err := s.body(r)
	if err != nil {
		return nil, nil, err
	}
	o := k.object()
	switch media {
	case runtime.ContentTypeProtobuf:
		return o, nil, s.decodeProtobuf(k, data, o)
	case runtime.ContentTypeYAML:
		text, err := yaml.YAMLToJSON(data)
		if err != nil {
			return nil, nil, cannotHandle(k, err)
		}
		var doubled []error
		if _, err := yaml.YAMLToJSONStrict(data); err != nil {
			doubled = append(doubled, err)
		}
		warnings, err := s.decodeJSON(k, text, o, how, doubled)
		return o, warnings, err
	case runtime.ContentTypeJSON:
		warnings, err := s.decodeJSON(k, data, o, how, nil)
		return o, warnings, err
	}
	return nil, nil, unsupportedMedia(media)
}

func cannotHandle(k *kind, err error) error {
	return apierrors.NewBadRequest(fmt.Sprintf("%s in version %q cannot be handled as a %s: %v", k.kind, k.version, k.kind, err))
}

// decodeJSON decodes what has been found safe. What has duplicate fields is decoded in
// the form that it was checked in: a decoder would see both values. doubled are those
// that whoever made the JSON has found.
func (s *Server) decodeJSON(k *kind, data []byte, o store.Object, how directive, doubled []error) ([]string, error) {
	var value any
	strict, err := sigsjson.UnmarshalStrict(data, &value, sigsjson.DisallowDuplicateFields)
	if err == nil {
		err = api.SafeJSON(value, reflect.TypeOf(o))
	}
	if err == nil && len(strict) > 0 {
		data, err = json.Marshal(value)
	}
	if err != nil {
		return nil, cannotHandle(k, err)
	}
	strict = append(strict, doubled...)
	info, _ := s.codecs.find("application", "json")
	gvk := k.gvk()
	_, actual, err := info.StrictSerializer.Decode(data, &gvk, o)
	if e, ok := runtime.AsStrictDecodingError(err); ok {
		strict, err = append(strict, e.Errors()...), nil
	}
	if err != nil {
		return nil, cannotHandle(k, err)
	}
	if actual == nil || *actual != gvk {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("the object provided is unrecognized (must be of type %s)", k.kind))
	}
	if len(strict) == 0 || how == metav1.FieldValidationIgnore {
		return nil, nil
	}
	if how == metav1.FieldValidationStrict {
		return nil, cannotHandle(k, runtime.NewStrictDecodingError(strict))
	}
	return texts(strict), nil
}

// texts are errors as warnings.
func texts(errs []error) (out []string) {
	for _, e := range errs {
		out = append(out, e.Error())
	}
	return out
}

var protobufPrefix = []byte("k8s\x00")

func (s *Server) decodeProtobuf(k *kind, data []byte, o runtime.Object) error {
	raw, ok := bytes.CutPrefix(data, protobufPrefix)
	var envelope runtime.Unknown
	if !ok || envelope.Unmarshal(raw) != nil {
		return apierrors.NewBadRequest("the body is no protobuf object of Kubernetes")
	}
	if envelope.Kind != k.kind && envelope.Kind != "" {
		return apierrors.NewBadRequest(fmt.Sprintf("the object provided is unrecognized (must be of type %s)", k.kind))
	}
	if err := api.SafeProtobuf(envelope.Raw, reflect.TypeOf(o).Elem()); err != nil {
		return cannotHandle(k, err)
	}
	info, _ := s.codecs.find("application", "vnd.kubernetes.protobuf")
	gvk := k.gvk()
	if _, _, err := info.Serializer.Decode(data, &gvk, o); err != nil {
		return cannotHandle(k, err)
	}
	return nil
}

// deleteOptions reads the body and the query of a deletion.
func (s *Server) deleteOptions(r *http.Request) (*metav1.DeleteOptions, error) {
	o := new(metav1.DeleteOptions)
	data, media, err := s.body(r)
	if err != nil {
		return nil, err
	}
	if len(data) > 0 {
		info, ok := runtime.SerializerInfoForMediaType(s.codecs.infos, media)
		if !ok {
			return nil, unsupportedMedia(media)
		}
		gvk := coreV1.WithKind("DeleteOptions")
		if _, _, err := info.Serializer.Decode(data, &gvk, o); err != nil {
			return nil, apierrors.NewBadRequest("DeleteOptions: " + err.Error())
		}
	}
	q := r.URL.Query()
	if text := q.Get("gracePeriodSeconds"); text != "" {
		seconds, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return nil, apierrors.NewBadRequest("gracePeriodSeconds: must be a number")
		}
		o.GracePeriodSeconds = &seconds
	}
	if text := q.Get("propagationPolicy"); text != "" {
		o.PropagationPolicy = ptr.To(metav1.DeletionPropagation(text))
	}
	if text := q.Get("orphanDependents"); text != "" {
		//lint:ignore SA1019 old clients set it
		o.OrphanDependents = ptr.To(isTrue(text))
	}
	o.DryRun = append(o.DryRun, q["dryRun"]...)
	return o, nil
}

const (
	// warningsMax bounds what the warnings of an answer may have, and warningMax each of
	// them when they are more than that, in characters: kube-apiserver's bounds. Clients
	// do not take headers of any size.
	warningsMax, warningMax = 4 << 10, 256
)

// warn adds Warning headers, as RFC 7234 has them, each once.
func warn(w http.ResponseWriter, warnings []string) {
	total, written := 0, 0
	for _, text := range warnings {
		total += utf8.RuneCountInString(text)
	}
	told := make(map[string]bool)
	for _, text := range warnings {
		if told[text] || written >= warningsMax {
			continue
		}
		told[text] = true
		if runes := []rune(text); total > warningsMax && len(runes) > warningMax {
			text = string(runes[:warningMax])
		}
		written += utf8.RuneCountInString(text)
		w.Header().Add("Warning", fmt.Sprintf("299 - %q", text))
	}
}
