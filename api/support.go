// SPDX-License-Identifier: Apache-2.0

package api

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Warning names a field that is accepted and has no effect.
type Warning struct {
	Field, Message string
}

// Unsupported checks a defaulted Pod against what this node honours. The errors are
// fields that it cannot honour yet, each with the reason; the warnings are fields
// without effect here, where Kubernetes itself would run the Pod. It does not change
// the Pod.
func Unsupported(pod *corev1.Pod, nodeName string) (field.ErrorList, []Warning) {
	w := walker{rules: map[string]rule{}, nodeName: nodeName}
	for _, r := range fields {
		w.rules[r.path] = r
	}
	w.structure(reflect.ValueOf(pod).Elem(), nil, "")
	return w.errs, w.warnings
}

// walker goes over every set field of a Pod until it meets a rule.
type walker struct {
	rules    map[string]rule
	nodeName string
	errs     field.ErrorList
	warnings []Warning
}

// value looks at one field: at is its path, key its path with [] for indices.
func (w *walker) value(v reflect.Value, at *field.Path, key string) {
	if v.IsZero() {
		return
	}
	if r, ok := w.rule(key); ok {
		w.apply(r, v, at)
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		w.inside(v.Elem(), at, key)
	default:
		w.inside(v, at, key)
	}
}

// inside looks into a field that has no rule of its own.
func (w *walker) inside(v reflect.Value, at *field.Path, key string) {
	switch v.Kind() {
	case reflect.Struct:
		w.structure(v, at, key)
	case reflect.Slice:
		for i := range v.Len() {
			w.inside(v.Index(i), at.Index(i), key+"[]")
		}
	case reflect.Map:
		names := v.MapKeys()
		slices.SortFunc(names, func(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) })
		for _, name := range names {
			w.resource(name.String(), v.MapIndex(name), at, key)
		}
	default:
		w.errs = append(w.errs, field.Forbidden(at, "this node does not know the field"))
	}
}

func (w *walker) structure(v reflect.Value, at *field.Path, key string) {
	for i := range v.NumField() {
		f := v.Type().Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "" { // inlined
			w.structure(v.Field(i), at, key)
			continue
		}
		inner := field.NewPath(name)
		if at != nil {
			inner = at.Child(name)
		}
		w.value(v.Field(i), inner, join(key, name))
	}
}

// resource looks at one entry of a resource list.
func (w *walker) resource(name string, v reflect.Value, at *field.Path, key string) {
	pattern := "*"
	switch {
	case strings.HasPrefix(name, corev1.ResourceHugePagesPrefix):
		pattern = corev1.ResourceHugePagesPrefix + "*"
	case slices.Contains(nodeResources, name):
		pattern = name
	}
	if r, ok := w.rule(key + "[" + pattern + "]"); ok {
		w.apply(r, v, at.Key(name))
		return
	}
	w.errs = append(w.errs, field.Forbidden(at.Key(name), noResource))
}

// nodeResources are the resources that have rules by name.
var nodeResources = []string{"cpu", "memory", "ephemeral-storage"}

// rule finds the rule of a path; init and ephemeral containers share those of app
// containers.
func (w *walker) rule(key string) (rule, bool) {
	r, ok := w.rules[key]
	for _, list := range []string{"spec.initContainers[]", "spec.ephemeralContainers[]"} {
		if rest, inList := strings.CutPrefix(key, list); !ok && inList {
			r, ok = w.rules["spec.containers[]"+rest]
		}
	}
	return r, ok
}

// apply does what the rule says about a field that is set.
func (w *walker) apply(r rule, v reflect.Value, at *field.Path) {
	if r.level != Refused && r.level != Warned {
		return
	}
	text := scalar(v)
	for _, accepted := range r.accept {
		if accepted == nodeNameValue {
			accepted = w.nodeName
		}
		if text == accepted {
			return
		}
	}
	switch {
	case r.level == Warned:
		w.warnings = append(w.warnings, Warning{at.String(), "has no effect: " + r.note})
	case len(r.accept) > 0:
		w.errs = append(w.errs, field.Forbidden(at, fmt.Sprintf("%q: %s; supported: %s",
			text, r.note, strings.ReplaceAll(strings.Join(r.accept, ", "), nodeNameValue, w.nodeName))))
	default:
		w.errs = append(w.errs, field.Forbidden(at, r.note))
	}
}

// scalar spells a string, number or boolean, behind a pointer or not.
func scalar(v reflect.Value) string {
	for v.Kind() == reflect.Pointer {
		v = v.Elem()
	}
	switch v.Kind() {
	case reflect.Struct, reflect.Map, reflect.Slice:
		return ""
	}
	return fmt.Sprint(v.Interface())
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}
