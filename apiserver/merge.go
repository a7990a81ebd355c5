// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"unicode"

	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/kube-openapi/pkg/validation/spec"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
	"sigs.k8s.io/structured-merge-diff/v6/typed"
	"sigs.k8s.io/yaml"

	"github.com/minikubelet/minikubelet/api"
	"github.com/minikubelet/minikubelet/store"
)

// Server-side apply and the management of fields are apimachinery's. It knows the
// types by the same schemas that the OpenAPI documents have.

// mergeType is how a list or a structure is merged.
type mergeType struct {
	list     string
	keys     []string
	atomic   bool
	standard string // the value of a key that is not given
}

// mark adds what is known of a field or a type to its schema.
func (m mergeType) mark(schema object) {
	if m.list != "" {
		schema["x-kubernetes-list-type"] = m.list
	}
	if m.keys != nil {
		schema["x-kubernetes-list-map-keys"] = m.keys
	}
	if m.atomic {
		schema["x-kubernetes-map-type"] = "atomic"
	}
	if m.standard != "" {
		schema["default"] = m.standard
	}
}

// hidden is the field of an object that a write cannot change, "" when there is none.
func (k *kind) hidden(sub string) string {
	switch {
	case sub != "":
		return "spec"
	case k.sub("status") != nil:
		return "status"
	}
	return ""
}

// without is an object without the field hidden, which shares all else with it.
func without(o store.Object, hidden string) store.Object {
	out := reflect.New(reflect.TypeOf(o).Elem())
	out.Elem().Set(reflect.ValueOf(o).Elem())
	if hidden != "" {
		if f := out.Elem().FieldByName(strings.ToUpper(hidden[:1]) + hidden[1:]); f.IsValid() {
			f.SetZero()
		}
	}
	return out.Interface().(store.Object)
}

// manager keeps account of who manages which fields of a kind, for one write.
func (s *Server) manager(k *kind, sub string) (*managedfields.FieldManager, error) {
	types, err := s.converter(k)
	if err != nil {
		return nil, err
	}
	version := fieldpath.APIVersion(k.groupVersion().String())
	hidden := fieldpath.NewSet()
	if name := k.hidden(sub); name != "" {
		hidden.Insert(fieldpath.MakePathOrDie(name))
	}
	return managedfields.NewDefaultFieldManager(&knownObjects{types, make(map[*typed.TypedValue]runtime.Object)},
		s.codecs.scheme, s.codecs.scheme, s.codecs.scheme, k.gvk(), k.groupVersion(), sub,
		map[fieldpath.APIVersion]fieldpath.Filter{version: fieldpath.NewExcludeSetFilter(hidden)})
}

// knownObjects finds again the objects that it has made typed values of. A manager
// turns such a value back into an object only to see its version, and to make the
// object anew costs as much as the comparison that it is for.
type knownObjects struct {
	managedfields.TypeConverter
	made map[*typed.TypedValue]runtime.Object
}

func (c *knownObjects) ObjectToTyped(o runtime.Object, options ...typed.ValidationOptions) (*typed.TypedValue, error) {
	value, err := c.TypeConverter.ObjectToTyped(o, options...)
	if err == nil {
		c.made[value] = o
	}
	return value, err
}

func (c *knownObjects) TypedToObject(value *typed.TypedValue) (runtime.Object, error) {
	if o := c.made[value]; o != nil {
		return o, nil
	}
	return c.TypeConverter.TypedToObject(value)
}

// converter knows a kind's types. It is made when it is first needed: the schemas take
// some memory.
func (s *Server) converter(k *kind) (managedfields.TypeConverter, error) {
	s.managing.Lock()
	defer s.managing.Unlock()
	if types := s.converters[k.gvk()]; types != nil {
		return types, nil
	}
	types, err := k.converter()
	if err == nil {
		s.converters[k.gvk()] = types
	}
	return types, err
}

// converter makes what knows the kind's types.
func (k *kind) converter() (managedfields.TypeConverter, error) {
	b := newSchemaBuilder()
	t := reflect.TypeOf(k.object()).Elem()
	b.schemaOf(t)
	data, err := json.Marshal(b.schemas)
	if err != nil {
		return nil, err
	}
	schemas := make(map[string]*spec.Schema)
	if err := json.Unmarshal(data, &schemas); err != nil {
		return nil, err
	}
	for _, s := range schemas {
		s.Description = ""
	}
	schemas[schemaName(t)].AddExtension("x-kubernetes-group-version-kind", []any{
		map[string]any{"group": k.group, "version": k.version, "kind": k.kind},
	})
	return managedfields.NewTypeConverter(schemas, false)
}

// fieldManager is who writes: the query names it, else the client's own name does.
func fieldManager(r *http.Request) (string, error) {
	name := r.URL.Query().Get("fieldManager")
	if errs := validation.ValidateFieldManager(name, field.NewPath("fieldManager")); len(errs) > 0 {
		return "", apierrors.NewInvalid(metav1.SchemeGroupVersion.WithKind("PatchOptions").GroupKind(), "", errs)
	}
	if name == "" {
		agent, _, _ := strings.Cut(r.UserAgent(), "/")
		name = strings.Map(func(c rune) rune {
			if unicode.IsPrint(c) {
				return c
			}
			return -1
		}, agent)
		name = strings.ToValidUTF8(name[:min(len(name), validation.FieldManagerMaxLength)], "")
	}
	return name, nil
}

// manage notes who manages what after a write that replaces old by o; old is an empty
// object for a new one.
func (s *Server) manage(k *kind, o, old store.Object, sub, manager string) error {
	if manager == "" || !k.stores() {
		return nil
	}
	m, err := s.manager(k, sub)
	if err != nil {
		return apierrors.NewInternalError(err)
	}
	if err := managedfields.ValidateManagedFields(o.GetManagedFields()); err != nil {
		return apierrors.NewBadRequest("metadata.managedFields: " + err.Error())
	}
	old.GetObjectKind().SetGroupVersionKind(k.gvk())
	o.GetObjectKind().SetGroupVersionKind(k.gvk())
	// To compare what is not accounted for would be half of the work.
	out, err := m.Update(without(old, k.hidden(sub)), without(o, k.hidden(sub)), manager)
	if err != nil {
		return apierrors.NewInternalError(err)
	}
	o.SetManagedFields(out.(store.Object).GetManagedFields())
	if sameManagers(o.GetManagedFields(), old.GetManagedFields()) {
		o.SetManagedFields(old.GetManagedFields())
	}
	return nil
}

// sameManagers compares without the times: a write that changes nothing must not
// look like a change.
func sameManagers(a, b []metav1.ManagedFieldsEntry) bool {
	bare := func(in []metav1.ManagedFieldsEntry) []metav1.ManagedFieldsEntry {
		out := slices.Clone(in)
		for i := range out {
			out[i].Time = nil
		}
		slices.SortFunc(out, func(a, b metav1.ManagedFieldsEntry) int {
			return strings.Compare(a.Manager+" "+string(a.Operation)+" "+a.Subresource, b.Manager+" "+string(b.Operation)+" "+b.Subresource)
		})
		return out
	}
	return apiequality.Semantic.DeepEqual(bare(a), bare(b))
}

// applied is a configuration that a client applies.
type applied struct {
	config  *unstructured.Unstructured
	manager string
	force   bool
}

// readApplied reads the body of a server-side apply.
func (s *Server) readApplied(r *http.Request, k *kind, data []byte) (*applied, []string, error) {
	q := r.URL.Query()
	a := &applied{manager: q.Get("fieldManager"), force: isTrue(q.Get("force"))}
	if a.manager == "" {
		return nil, nil, apierrors.NewInvalid(metav1.SchemeGroupVersion.WithKind("PatchOptions").GroupKind(), "",
			field.ErrorList{field.Required(field.NewPath("fieldManager"), "is required for apply patch")})
	}
	if _, err := fieldManager(r); err != nil {
		return nil, nil, err
	}
	text, err := yaml.YAMLToJSON(data)
	if err != nil {
		return nil, nil, apierrors.NewBadRequest(fmt.Sprintf("error decoding YAML: %v", err))
	}
	value := make(map[string]any)
	if err := json.Unmarshal(text, &value); err != nil {
		return nil, nil, apierrors.NewBadRequest(fmt.Sprintf("error decoding YAML: %v", err))
	}
	if err := api.SafeJSON(value, reflect.TypeOf(k.object())); err != nil {
		return nil, nil, cannotHandle(k, err)
	}
	how, err := fieldValidation(q)
	if err != nil {
		return nil, nil, err
	}
	_, doubled := yaml.YAMLToJSONStrict(data)
	a.config = &unstructured.Unstructured{Object: runtime.DeepCopyJSON(integers(value).(map[string]any))}
	switch {
	case a.config.GroupVersionKind() != k.gvk():
		return nil, nil, apierrors.NewBadRequest(fmt.Sprintf("the object provided is unrecognized (must be of type %s)", k.kind))
	case doubled == nil || how == metav1.FieldValidationIgnore:
		return a, nil, nil
	case how == metav1.FieldValidationStrict:
		return nil, nil, apierrors.NewBadRequest("error strict decoding YAML: " + doubled.Error())
	}
	return a, []string{doubled.Error()}, nil
}

// integers makes whole numbers of JSON integers, as unstructured objects have them.
func integers(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for key := range v {
			v[key] = integers(v[key])
		}
	case []any:
		for i := range v {
			v[i] = integers(v[i])
		}
	case float64:
		if v == float64(int64(v)) {
			return int64(v)
		}
	}
	return v
}

// onto applies the configuration to an object, which may be an empty new one.
func (a *applied) onto(s *Server, k *kind, live store.Object, sub string) (store.Object, error) {
	m, err := s.manager(k, sub)
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	live.GetObjectKind().SetGroupVersionKind(k.gvk())
	out, err := m.Apply(live.DeepCopyObject(), a.config.DeepCopy(), a.manager, a.force)
	if _, ok := err.(apierrors.APIStatus); err != nil && !ok {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	if err != nil {
		return nil, err
	}
	o := out.(store.Object)
	if sameManagers(o.GetManagedFields(), live.GetManagedFields()) {
		o.SetManagedFields(live.GetManagedFields())
	}
	return o, nil
}

// apply is a PATCH that makes the object if need be.
func (s *Server) apply(w http.ResponseWriter, r *http.Request, k *kind, req request, data []byte) error {
	a, warnings, err := s.readApplied(r, k, data)
	if err != nil {
		return err
	}
	if name := a.config.GetName(); name != "" && name != req.name {
		return apierrors.NewBadRequest(fmt.Sprintf("the name of the object (%s) does not match the name on the URL (%s)", name, req.name))
	}
	change := func() error {
		return s.modify(w, r, k, req, "", func(old store.Object) (store.Object, []string, error) {
			o, err := a.onto(s, k, old, req.subresource)
			if err != nil {
				return nil, nil, err
			}
			o.SetResourceVersion(a.config.GetResourceVersion())
			return o, warnings, nil
		})
	}
	if req.subresource != "" {
		return change()
	}
	return orNew(change, func() error { return s.applyNew(w, r, k, req, a, warnings) })
}

func (s *Server) applyNew(w http.ResponseWriter, r *http.Request, k *kind, req request, a *applied, warnings []string) error {
	switch {
	case a.config.GetUID() != "":
		return apierrors.NewConflict(k.groupResource(), req.name, fmt.Errorf("uid mismatch: the provided object specified uid %s, and no existing object was found", a.config.GetUID()))
	case a.config.GetResourceVersion() != "":
		return apierrors.NewConflict(k.groupResource(), req.name, errModified)
	}
	o, err := a.onto(s, k, k.object(), "")
	if err != nil {
		return err
	}
	return s.createAt(w, r, k, req, o, "", warnings)
}
