// SPDX-License-Identifier: Apache-2.0

package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"

	corev1 "k8s.io/api/core/v1"
	sigsjson "sigs.k8s.io/json"
	sigsyaml "sigs.k8s.io/yaml"
)

// Object is one object of a manifest, as it was written: not defaulted, not
// validated.
type Object struct {
	Source
	// Pod is nil for an object of another kind.
	Pod *corev1.Pod
	// Other is an object that is no Pod, and Kind its kind.
	Other Meta
	Kind  *ManifestKind
	// Canonical is the object as JSON with sorted keys and without defaults: the same
	// for manifests that differ only in order, comments or notation.
	Canonical []byte
}

// Meta is the object, whatever it is.
func (o *Object) Meta() Meta {
	if o.Pod != nil {
		return o.Pod
	}
	return o.Other
}

// decoded is an Object on its way, with what later checks need.
type decoded struct {
	Object
	prefix string // of its fields in the document: "" or "items[2]"
	lines  lineIndex
	faults []fault // decoding errors; their fields are missing in Pod
}

// decodeAll reads the objects of a manifest: YAML or JSON, several documents
// (separated by --- in YAML, one after another in JSON), each a Pod or another object
// of ManifestKinds, a List (or PodList) of them, or a JSON array. Decoding is strict:
// unknown, duplicate and mistyped fields are faults of the object. It returns everything
// that is recognisably an object, and the problems of what is not, in which name
// stands for the manifest.
func decodeAll(name string, r io.Reader) ([]decoded, []Problem) {
	data, err := readAll(r)
	if err != nil {
		return nil, []Problem{{Source: Source{File: name, Item: -1}, Message: err.Error()}}
	}
	docs := split(data)
	if len(docs) == 0 {
		return nil, []Problem{{Source: Source{File: name, Item: -1}, Message: "holds no object: expected at least one Pod"}}
	}
	if len(docs) > MaxObjects {
		return nil, []Problem{{Source: Source{File: name, Item: -1},
			Message: fmt.Sprintf("holds %d documents, more than %d: split it into several files", len(docs), MaxObjects)}}
	}
	var all []decoded
	var problems []Problem
	for i, doc := range docs {
		source := Source{File: name, Document: i + 1, Item: -1, Line: doc.line}
		more, err := decodeDocument(doc, source)
		all = append(all, more...)
		problems = append(problems, err...)
	}
	return all, problems
}

// decodeDocument takes one document apart.
func decodeDocument(doc document, source Source) ([]decoded, []Problem) {
	if len(doc.text) > MaxDocumentBytes {
		return nil, []Problem{{Source: source, Message: fmt.Sprintf("document larger than %d MiB", MaxDocumentBytes>>20)}}
	}
	lines := indexLines(doc)
	value, problems := parse(doc, source, lines)
	if value == nil {
		return nil, problems
	}
	var all []decoded
	add := func(value any, prefix string, item int) {
		at := source
		at.Item, at.Line = item, lines.find(prefix)
		d := decoded{Object: Object{Source: at}, prefix: prefix, lines: lines}
		if problem := d.decode(value); problem != "" {
			problems = append(problems, d.problem(fault{"", problem}))
			return
		}
		all = append(all, d)
	}
	items, prefix, isList := listItems(value)
	if len(items) > MaxObjects {
		return nil, append(problems, Problem{Source: source, Field: prefix,
			Message: fmt.Sprintf("%d items, more than %d: split the list into several files", len(items), MaxObjects)})
	}
	if !isList {
		add(value, "", -1)
	}
	for i := range items {
		add(items[i], fmt.Sprintf("%s[%d]", prefix, i), i)
	}
	return all, problems
}

// parse turns a document into plain JSON values. A duplicate key is a problem, and
// the rest is still returned.
func parse(doc document, source Source, lines lineIndex) (any, []Problem) {
	var problems []Problem
	text := doc.text
	if !doc.json {
		converted, err := sigsyaml.YAMLToJSON(doc.text)
		if err != nil {
			return nil, []Problem{yamlProblem(err, doc, source)}
		}
		text = converted
		for _, d := range lines.duplicates() {
			at := source
			at.Line = d.line
			problems = append(problems, Problem{at, d.field, fmt.Sprintf("duplicate field, first set in line %d", d.first)})
		}
	}
	var value any
	strict, err := sigsjson.UnmarshalStrict(text, &value, sigsjson.DisallowDuplicateFields)
	if err != nil {
		return nil, append(problems, Problem{Source: source, Message: err.Error()})
	}
	for _, e := range strict[:min(len(strict), maxFaults)] {
		field := ""
		var located sigsjson.FieldError
		if errors.As(e, &located) {
			field = located.FieldPath()
		}
		at := source
		at.Line = lines.find(field)
		problems = append(problems, Problem{at, field, "duplicate field"})
	}
	if value == nil {
		problems = append(problems, Problem{Source: source, Message: "is null: expected a Pod"})
	}
	return value, problems
}

// yamlProblem moves the line number of a YAML error from the document to the file.
func yamlProblem(err error, doc document, source Source) Problem {
	message := strings.TrimPrefix(err.Error(), "error converting YAML to JSON: ")
	message = strings.TrimPrefix(message, "yaml: ")
	var line int
	if n, _ := fmt.Sscanf(message, "line %d:", &line); n == 1 {
		_, message, _ = strings.Cut(message, ": ")
		// The parser may count a line past the end.
		source.Line = doc.line + min(line-1, bytes.Count(doc.text, []byte("\n")))
	}
	return Problem{Source: source, Message: "not valid YAML: " + message}
}

// listItems returns the items of a list and their path in the document.
func listItems(value any) (items []any, path string, isList bool) {
	switch v := value.(type) {
	case []any:
		return v, "", true
	case map[string]any:
		kind, _ := v["kind"].(string)
		if v["apiVersion"] == "v1" && (kind == "List" || kind == "PodList") {
			items, ok := v["items"].([]any)
			return items, "items", ok || v["items"] == nil
		}
	}
	return nil, "", false
}

// decode fills the object, and returns what keeps it from being one.
func (d *decoded) decode(value any) string {
	object, ok := value.(map[string]any)
	if !ok {
		return fmt.Sprintf("expected an object with apiVersion and kind, got %s", describe(value))
	}
	apiVersion, _ := object["apiVersion"].(string)
	kind, _ := object["kind"].(string)
	switch {
	case kind == "" || apiVersion == "":
		return "apiVersion and kind are required: expected apiVersion: v1 and kind: Pod"
	case kind == "Pod" && apiVersion == "v1":
		d.Pod = new(corev1.Pod)
	default:
		if d.Kind = manifestKind(apiVersion, kind); d.Kind == nil {
			return fmt.Sprintf("kind %s (%s) is not supported: manifests hold Pod, ConfigMap, Secret, Namespace, PersistentVolume, PersistentVolumeClaim (v1), ClusterTrustBundle (certificates.k8s.io/v1beta1) and StorageClass (storage.k8s.io/v1), alone or in a List (v1)", kind, apiVersion)
		}
		d.Other = d.Kind.New()
	}
	check := typeCheck{secret: d.Kind != nil && d.Kind.secret}
	fitting, _ := check.clean(object, reflect.TypeOf(d.Meta()).Elem(), "")
	d.faults = check.found
	text, err := json.Marshal(fitting)
	if err == nil {
		err = sigsjson.UnmarshalCaseSensitivePreserveInts(text, d.Meta())
	}
	if err != nil {
		return fmt.Sprintf("cannot be decoded as a %s: %v", kind, err)
	}
	d.Canonical = text
	return ""
}

// problem places a fault in the file.
func (d *decoded) problem(f fault) Problem {
	at := d.Source
	at.Line = d.lines.find(d.prefix + "." + f.field)
	return Problem{Source: at, Field: f.field, Message: f.message}
}

func (d *decoded) decodingProblems() []Problem {
	var problems []Problem
	for _, f := range d.faults {
		problems = append(problems, d.problem(f))
	}
	return problems
}

// faulty says whether decoding already found fault with the field, an ancestor or
// a descendant of it, so that what later checks say of it may be untrue.
func (d *decoded) faulty(field string) bool {
	for _, f := range d.faults {
		if within(field, f.field) || within(f.field, field) {
			return true
		}
	}
	return false
}

// within says whether the path is that of ancestor or of something below it.
func within(path, ancestor string) bool {
	rest, ok := strings.CutPrefix(path, ancestor)
	return ok && (rest == "" || rest[0] == '.' || rest[0] == '[')
}
