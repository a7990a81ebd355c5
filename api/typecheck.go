// SPDX-License-Identifier: Apache-2.0

package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// typeCheck compares a decoded JSON value with the Go type that it is meant for.
// It finds every unknown field and every value of the wrong type, where a decoder
// stops at the first.
type typeCheck struct {
	found  []fault
	secret bool // values are not told
}

// fault is one thing that typeCheck found.
type fault struct {
	field, message string
}

var (
	unmarshaler  = reflect.TypeFor[json.Unmarshaler]()
	quantity     = reflect.TypeFor[resource.Quantity]()
	resourceList = reflect.TypeFor[corev1.ResourceList]()
	errExponent  = errors.New("the exponent is out of range")
)

// overlong says whether a quantity has an exponent, or so many digits, that
// upstream's arithmetic on it would take hours: it computes with all digits of
// 1e999999999.
func overlong(text string) bool {
	if len(text) > 64 {
		return true
	}
	_, exponent, found := strings.Cut(strings.ToLower(text), "e")
	return found && len(strings.TrimLeft(exponent, "+-")) > 2
}

// clean returns value without what does not fit t, and notes each as a fault.
func (c *typeCheck) clean(value any, t reflect.Type, path string) (any, bool) {
	if value == nil {
		return nil, true
	}
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if reflect.PointerTo(t).Implements(unmarshaler) {
		return c.cleanCustom(value, t, path)
	}
	switch t.Kind() {
	case reflect.Struct:
		object, ok := value.(map[string]any)
		if !ok {
			return c.wrong(path, "an object", value)
		}
		return c.cleanStruct(object, t, path), true
	case reflect.Map:
		object, ok := value.(map[string]any)
		if !ok {
			return c.wrong(path, "an object", value)
		}
		out := make(map[string]any, len(object))
		for _, key := range slices.Sorted(maps.Keys(object)) {
			if size, ok := strings.CutPrefix(key, corev1.ResourceHugePagesPrefix); ok && t == resourceList && overlong(size) {
				c.add(path+"["+key+"]", "no valid page size: "+errExponent.Error())
				continue
			}
			if v, ok := c.clean(object[key], t.Elem(), path+"["+key+"]"); ok {
				out[key] = v
			}
		}
		return out, true
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return c.cleanCustom(value, t, path)
		}
		list, ok := value.([]any)
		if !ok {
			return c.wrong(path, "a list", value)
		}
		out := make([]any, len(list))
		for i := range list {
			// A bad item stays as null so that the others keep their indices.
			out[i], _ = c.clean(list[i], t.Elem(), fmt.Sprintf("%s[%d]", path, i))
		}
		return out, true
	}
	return c.cleanScalar(value, t, path)
}

func (c *typeCheck) cleanStruct(object map[string]any, t reflect.Type, path string) map[string]any {
	fields := jsonFields(t)
	out := make(map[string]any, len(object))
	for _, key := range slices.Sorted(maps.Keys(object)) {
		at := strings.TrimPrefix(path+"."+key, ".")
		field, ok := fields[key]
		if !ok {
			c.add(at, "unknown field"+suggestion(key, fields))
			continue
		}
		if v, ok := c.clean(object[key], field, at); ok {
			out[key] = v
		}
	}
	return out
}

func (c *typeCheck) cleanScalar(value any, t reflect.Type, path string) (any, bool) {
	switch t.Kind() {
	case reflect.String:
		if _, ok := value.(string); !ok {
			return c.wrong(path, "a string", value)
		}
	case reflect.Bool:
		if _, ok := value.(bool); !ok {
			return c.wrong(path, "true or false", value)
		}
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		n, ok := value.(int64)
		if f, isFloat := value.(float64); isFloat && f == math.Trunc(f) && math.Abs(f) < 1<<53 {
			n, ok = int64(f), true
		}
		if !ok {
			return c.wrong(path, "an integer", value)
		}
		if reflect.Zero(t).OverflowInt(n) {
			c.add(path, fmt.Sprintf("%d is out of range for a number of %d bits", n, t.Bits()))
			return nil, false
		}
		return n, true
	}
	return value, true
}

// cleanCustom lets the type itself judge.
func (c *typeCheck) cleanCustom(value any, t reflect.Type, path string) (any, bool) {
	text, err := json.Marshal(value)
	if s, isText := value.(string); err == nil && isText && t == quantity && overlong(s) {
		err = errExponent
	}
	if err == nil {
		err = json.Unmarshal(text, reflect.New(t).Interface())
	}
	if err != nil {
		c.add(path, fmt.Sprintf("%s is no valid value: %v", c.describe(value), err))
		return nil, false
	}
	return value, true
}

func (c *typeCheck) wrong(path, want string, value any) (any, bool) {
	hint := ""
	if _, isText := value.(string); want == "a string" && !isText {
		switch value.(type) {
		case bool, int64, float64:
			hint = "; put it in quotes"
		}
	}
	c.add(path, fmt.Sprintf("expected %s, got %s%s", want, c.describe(value), hint))
	return nil, false
}

func (c *typeCheck) describe(value any) string {
	switch value.(type) {
	case string, int64, float64:
		if c.secret {
			return "a value of a Secret"
		}
	}
	return describe(value)
}

func (c *typeCheck) add(field, message string) {
	if len(c.found) < maxFaults {
		c.found = append(c.found, fault{field, message})
	}
}

// describe names a JSON value, shortened.
func describe(value any) string {
	switch v := value.(type) {
	case map[string]any:
		return "an object"
	case []any:
		return "a list"
	case string:
		if len(v) > 60 {
			v = v[:60] + "…"
		}
		return fmt.Sprintf("%q", v)
	case bool:
		return fmt.Sprintf("the boolean %v", v)
	}
	return fmt.Sprintf("the number %v", value)
}

// jsonFields returns the types of a struct's fields by their JSON names, with
// those of inlined structs.
func jsonFields(t reflect.Type) map[string]reflect.Type {
	fields := map[string]reflect.Type{}
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case name == "-":
		case name == "" && (f.Anonymous || strings.Contains(options, "inline")):
			inner := f.Type
			if inner.Kind() == reflect.Pointer {
				inner = inner.Elem()
			}
			for k, v := range jsonFields(inner) {
				fields[k] = v
			}
		case name != "":
			fields[name] = f.Type
		}
	}
	return fields
}

// suggestion names the known field that a mistyped one most likely means.
func suggestion(key string, fields map[string]reflect.Type) string {
	best, distance := "", 3
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		d := editDistance(strings.ToLower(key), strings.ToLower(name))
		if d < distance {
			best, distance = name, d
		}
	}
	if best == "" || len(key) > 64 {
		return ""
	}
	return fmt.Sprintf(" (did you mean %q?)", best)
}

// editDistance is the number of single-character changes between a and b. Long
// words count as far apart.
func editDistance(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return 64
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		diagonal := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := diagonal
			if a[i-1] != b[j-1] {
				cost = 1 + min(diagonal, row[j], row[j-1])
			}
			diagonal, row[j] = row[j], cost
		}
	}
	return row[len(b)]
}
