// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"reflect"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// The OpenAPI document is made from the Go types when somebody asks for it, and
// forgotten again: kubectl asks once and keeps it. It has what kubectl needs:
// which operations take fieldValidation and dryRun, and the fields with their
// types, patch strategies and documentation.

type object = map[string]any

// openAPIKept is how long clients keep a document that they asked for with its hash:
// what kube-apiserver tells them.
const openAPIKept = 365 * 24 * time.Hour

// openAPIRoot names the documents, with a hash by which clients keep them.
func (s *Server) openAPIRoot(w http.ResponseWriter, r *http.Request) error {
	query := "?hash=" + s.openAPIHash()
	paths := object{}
	for _, gv := range s.groupVersions() {
		paths[rootOf(gv)[1:]] = object{"serverRelativeURL": "/openapi/v3" + rootOf(gv) + query}
	}
	return writeJSON(w, r, "application/json", object{"paths": paths})
}

// openAPIHash stands for what is in the documents, which are the same for the same
// program.
func (s *Server) openAPIHash() string {
	sum := sha256.Sum256([]byte(s.cfg.Version + " " + s.cfg.Program + " " + strings.Join(s.operations(), " ")))
	return strings.ToUpper(hex.EncodeToString(sum[:]))
}

func (s *Server) operations() []string {
	var out []string
	for _, k := range s.kinds {
		out = append(out, k.groupResource().String()+"="+strings.Join(k.verbs, ","))
	}
	return out
}

func (s *Server) openAPIVersion(w http.ResponseWriter, r *http.Request, gv schema.GroupVersion) error {
	b := newSchemaBuilder()
	paths := object{}
	for _, k := range s.kinds {
		if k.groupVersion() != gv {
			continue
		}
		b.schemaOf(reflect.TypeOf(k.object()).Elem())
		if k.list != nil {
			b.schemaOf(reflect.TypeOf(k.list()).Elem())
		}
		b.schemas[schemaName(reflect.TypeOf(k.object()).Elem())].(object)["x-kubernetes-group-version-kind"] = []object{gvkOf(k)}
		k.paths(paths)
	}
	if s.cfg.Program != "" && r.URL.Query().Get("hash") == s.openAPIHash() {
		w.Header().Set("Cache-Control", "private, immutable")
		w.Header().Set("Expires", time.Now().Add(openAPIKept).UTC().Format(http.TimeFormat))
	}
	return writeJSON(w, r, "application/json", object{
		"openapi": "3.0.0", "info": object{"title": "Kubernetes", "version": s.cfg.Version},
		"paths": paths, "components": object{"schemas": b.schemas},
	})
}

// openAPI2 is a document of the second version that describes nothing. kubectl asks for it
// when it is given a List, or a kind that the third does not have, and leaves what it does
// not find there to the server, which checks the fields of every object.
func (s *Server) openAPI2(w http.ResponseWriter, r *http.Request) error {
	if !strings.Contains(r.Header.Get("Accept"), "proto-openapi.spec.v2") {
		return writeJSON(w, r, "application/json", object{
			"swagger": "2.0", "info": object{"title": "Kubernetes", "version": s.cfg.Version}, "paths": object{}, "definitions": object{},
		})
	}
	// The fields of openapi.v2.Document and Info.
	text := func(to []byte, field protowire.Number, s string) []byte {
		return protowire.AppendString(protowire.AppendTag(to, field, protowire.BytesType), s)
	}
	info := text(text(nil, 1, "Kubernetes"), 2, s.cfg.Version)
	w.Header().Set("Content-Type", "application/com.github.proto-openapi.spec.v2.v1.0+protobuf")
	_, _ = w.Write(text(text(nil, 1, "2.0"), 2, string(info))) // the client may be gone
	return nil
}

func gvkOf(k *kind) object { return object{"group": k.group, "version": k.version, "kind": k.kind} }

// paths adds a kind's paths with their operations.
func (k *kind) paths(paths object) {
	prefix := rootOf(k.groupVersion()) + "/"
	if k.namespaced {
		prefix += "namespaces/{namespace}/"
	}
	for path, verbs := range map[string]map[string]string{
		prefix + k.name:             {"get": "list", "post": "create"},
		prefix + k.name + "/{name}": {"get": "get", "put": "update", "patch": "patch", "delete": "delete"},
	} {
		item := object{}
		for method, verb := range verbs {
			if k.can(verb) {
				item[method] = k.operation(method, verb)
			}
		}
		paths[path] = item
	}
}

// operationGroup is the part of operation names that tells the version, like
// CoreV1.
func operationGroup(k *kind) string {
	group, _, _ := strings.Cut(k.group, ".")
	if group == "" {
		group = "core"
	}
	return strings.ToUpper(group[:1]) + group[1:] + strings.ToUpper(k.version[:1]) + k.version[1:]
}

func (k *kind) operation(method, verb string) object {
	var parameters []object
	query := func(name string) {
		parameters = append(parameters, object{"name": name, "in": "query", "schema": object{"type": "string", "uniqueItems": true}})
	}
	ref := object{"$ref": "#/components/schemas/" + schemaName(reflect.TypeOf(k.object()).Elem())}
	op := object{
		"operationId": verb + operationGroup(k) + k.kind, "x-kubernetes-action": verb, "x-kubernetes-group-version-kind": gvkOf(k),
		"responses": object{"200": object{"description": "OK", "content": object{"application/json": object{"schema": ref}}}},
	}
	switch method {
	case "post", "put", "patch":
		query("dryRun")
		query("fieldManager")
		query("fieldValidation")
		op["requestBody"] = object{"content": object{"*/*": object{"schema": ref}}}
	case "delete":
		query("dryRun")
		query("gracePeriodSeconds")
		query("propagationPolicy")
	}
	if parameters != nil {
		op["parameters"] = parameters
	}
	return op
}

// schemaBuilder makes schemas of Go types.
type schemaBuilder struct {
	schemas object
	merge   map[string]mergeType
}

func newSchemaBuilder() *schemaBuilder { return &schemaBuilder{object{}, mergeTypes()} }

func schemaName(t reflect.Type) string {
	path := t.PkgPath()
	path = strings.Replace(strings.TrimPrefix(path, "k8s.io/"), "/", ".", -1)
	return "io.k8s." + path + "." + t.Name()
}

// schemaOf is the schema of a type, a reference for structs.
func (b *schemaBuilder) schemaOf(t reflect.Type) object {
	switch t {
	case reflect.TypeFor[metav1.Time](), reflect.TypeFor[metav1.MicroTime](), reflect.TypeFor[time.Time]():
		return object{"type": "string", "format": "date-time"}
	case reflect.TypeFor[resource.Quantity]():
		return b.named(t, object{"oneOf": []object{{"type": "string"}, {"type": "number"}}})
	case reflect.TypeFor[intstr.IntOrString]():
		return b.named(t, object{"oneOf": []object{{"type": "string"}, {"type": "integer"}}, "format": "int-or-string"})
	case reflect.TypeFor[metav1.Duration]():
		return object{"type": "string"}
	case reflect.TypeFor[metav1.FieldsV1]():
		return object{"type": "object"}
	}
	switch t.Kind() {
	case reflect.Pointer:
		return b.schemaOf(t.Elem())
	case reflect.Struct:
		name := schemaName(t)
		if _, ok := b.schemas[name]; !ok {
			b.schemas[name] = object{} // types may contain themselves
			b.schemas[name] = b.structOf(t)
		}
		return object{"$ref": "#/components/schemas/" + name}
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return object{"type": "string", "format": "byte"}
		}
		return object{"type": "array", "items": b.schemaOf(t.Elem())}
	case reflect.Map:
		return object{"type": "object", "additionalProperties": b.schemaOf(t.Elem())}
	case reflect.Bool:
		return object{"type": "boolean"}
	case reflect.Int64, reflect.Int:
		return object{"type": "integer", "format": "int64"}
	case reflect.Int32:
		return object{"type": "integer", "format": "int32"}
	case reflect.Float64:
		return object{"type": "number", "format": "double"}
	}
	return object{"type": "string"}
}

// named makes a schema one that kubectl explain has a name for; it is a reference to it.
func (b *schemaBuilder) named(t reflect.Type, schema object) object {
	b.schemas[schemaName(t)] = schema
	return object{"$ref": "#/components/schemas/" + schemaName(t)}
}

func (b *schemaBuilder) structOf(t reflect.Type) object {
	docs := docsOf(t)
	properties := object{}
	var required []string
	b.properties(t, docs, properties, &required)
	out := object{"type": "object", "description": docs[""], "properties": properties}
	b.merge[t.PkgPath()+"."+t.Name()].mark(out)
	if required != nil {
		out["required"] = required
	}
	return out
}

// isOneOf tells structs that are written as a string or a number.
func isOneOf(t reflect.Type) bool {
	return t == reflect.TypeFor[resource.Quantity]() || t == reflect.TypeFor[intstr.IntOrString]()
}

// docsOf documents the fields of a type, and under "" the type.
func docsOf(t reflect.Type) map[string]string {
	if d, ok := reflect.New(t).Interface().(interface{ SwaggerDoc() map[string]string }); ok {
		return d.SwaggerDoc()
	}
	return nil
}

func (b *schemaBuilder) properties(t reflect.Type, docs map[string]string, properties object, required *[]string) {
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "" {
			b.properties(f.Type, docsOf(f.Type), properties, required)
			continue
		}
		if name == "-" {
			continue
		}
		p := b.schemaOf(f.Type)
		if ref, ok := p["$ref"]; ok {
			p = object{"allOf": []object{{"$ref": ref}}}
			if f.Type.Kind() == reflect.Struct && !isOneOf(f.Type) {
				p["default"] = object{}
			}
		}
		p["description"] = docs[name]
		b.merge[t.PkgPath()+"."+t.Name()+"."+name].mark(p)
		if v := f.Tag.Get("patchStrategy"); v != "" {
			p["x-kubernetes-patch-strategy"] = v
		}
		if v := f.Tag.Get("patchMergeKey"); v != "" {
			p["x-kubernetes-patch-merge-key"] = v
		}
		properties[name] = p
		if !strings.Contains(options, "omitempty") && !strings.Contains(options, "omitzero") && f.Type.Kind() != reflect.Struct {
			*required = append(*required, name)
		}
	}
}
