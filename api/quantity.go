// SPDX-License-Identifier: Apache-2.0

package api

import (
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
)

// SafeJSON checks a JSON value that is to be decoded as a t for quantities on
// which upstream's arithmetic would take hours. Whatever else is wrong with it the
// decoder will say.
func SafeJSON(value any, t reflect.Type) error { return safeJSON(value, t, "") }

func safeJSON(value any, t reflect.Type, path string) error {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t == quantity {
		if text := fmt.Sprint(value); overlong(text) {
			return fmt.Errorf("%s: %w", path, errExponent)
		}
		return nil
	}
	switch v := value.(type) {
	case map[string]any:
		var fields map[string]reflect.Type
		if t.Kind() == reflect.Struct {
			fields = jsonFields(t)
		}
		for key, inner := range v {
			at := fields[key]
			if t.Kind() == reflect.Map {
				at = t.Elem()
				if overlongKey(key, t) {
					return fmt.Errorf("%s[%s]: %w", path, key, errExponent)
				}
			}
			if at == nil {
				for name, field := range fields { // some decoders do not mind the case
					if strings.EqualFold(name, key) {
						at = field
					}
				}
			}
			if at == nil {
				continue
			}
			if err := safeJSON(inner, at, strings.TrimPrefix(path+"."+key, ".")); err != nil {
				return err
			}
		}
	case []any:
		if t.Kind() != reflect.Slice {
			return nil
		}
		for i := range v {
			if err := safeJSON(v[i], t.Elem(), fmt.Sprintf("%s[%d]", path, i)); err != nil {
				return err
			}
		}
	}
	return nil
}

// overlongKey finds page sizes of hugepages-… resources.
func overlongKey(key string, t reflect.Type) bool {
	size, ok := strings.CutPrefix(key, "hugepages-")
	return ok && t == resourceList && overlong(size)
}

// SafeProtobuf is SafeJSON for a protobuf message of the type t, which has
// protobuf's field numbers in its tags.
func SafeProtobuf(data []byte, t reflect.Type) error { return safeProtobuf(data, t, 0) }

// protobufDepth bounds nested messages.
const protobufDepth = 100

var errMalformed = errors.New("not a valid protobuf message")

func safeProtobuf(data []byte, t reflect.Type, depth int) error {
	if depth > protobufDepth {
		return errMalformed
	}
	if t == quantity {
		return eachField(data, func(number protowire.Number, value []byte) error {
			if number == 1 && overlong(string(value)) {
				return errExponent
			}
			return nil
		})
	}
	fields := protobufFields(t)
	return eachField(data, func(number protowire.Number, value []byte) error {
		field, ok := fields[number]
		if !ok {
			return nil
		}
		for field.Kind() == reflect.Pointer || field.Kind() == reflect.Slice {
			field = field.Elem()
		}
		switch field.Kind() {
		case reflect.Struct:
			return safeProtobuf(value, field, depth+1)
		case reflect.Map:
			return eachField(value, func(number protowire.Number, entry []byte) error {
				switch {
				case number == 1 && overlongKey(string(entry), field):
					return errExponent
				case number == 2 && field.Elem().Kind() == reflect.Struct:
					return safeProtobuf(entry, field.Elem(), depth+1)
				}
				return nil
			})
		}
		return nil
	})
}

// eachField calls fn with the fields of a message that have bytes: strings and
// messages.
func eachField(data []byte, fn func(protowire.Number, []byte) error) error {
	for len(data) > 0 {
		number, kind, n := protowire.ConsumeTag(data)
		if n < 0 {
			return errMalformed
		}
		data = data[n:]
		if kind != protowire.BytesType {
			if n = protowire.ConsumeFieldValue(number, kind, data); n < 0 {
				return errMalformed
			}
			data = data[n:]
			continue
		}
		value, n := protowire.ConsumeBytes(data)
		if n < 0 {
			return errMalformed
		}
		if err := fn(number, value); err != nil {
			return err
		}
		data = data[n:]
	}
	return nil
}

// protobufFields are the types of a struct's fields by their numbers. Embedded
// structs are messages of their own.
func protobufFields(t reflect.Type) map[protowire.Number]reflect.Type {
	out := make(map[protowire.Number]reflect.Type)
	if t.Kind() != reflect.Struct {
		return out
	}
	for i := range t.NumField() {
		f := t.Field(i)
		parts := strings.Split(f.Tag.Get("protobuf"), ",")
		if len(parts) < 2 {
			continue
		}
		if n, err := strconv.Atoi(parts[1]); err == nil {
			out[protowire.Number(n)] = f.Type
		}
	}
	return out
}
