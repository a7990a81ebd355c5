// SPDX-License-Identifier: Apache-2.0

package store

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Data is an object at rest.
//
// It is a byte that tells the form, the object's revision as eight bytes, and the
// object: protobuf for the types of Kubernetes' API, which takes half the room of
// JSON and a tenth of its time to read, JSON for others. What an earlier version
// wrote is JSON without all that.
type Data struct{ bytes []byte }

const (
	formJSON     = 1
	formProtobuf = 2
	dataHeader   = 9
)

// message is what Kubernetes' API types can.
type message interface {
	Size() int
	MarshalTo([]byte) (int, error)
	Unmarshal([]byte) error
}

// asMessage finds the protobuf methods of an object. Only types of k8s.io/api count:
// any other that embeds an ObjectMeta has that one's methods, which know nothing of
// the rest of it.
func asMessage(o any) (message, bool) {
	m, ok := o.(message)
	if _, metadata := o.(*metav1.PartialObjectMetadata); metadata {
		return m, true // the first field of all of them
	}
	return m, ok && strings.HasPrefix(reflect.TypeOf(o).Elem().PkgPath(), "k8s.io/api/")
}

func encode(o Object, revision uint64) (Data, error) {
	if m, ok := asMessage(o); ok {
		b := make([]byte, dataHeader+m.Size())
		b[0] = formProtobuf
		binary.BigEndian.PutUint64(b[1:], revision)
		_, err := m.MarshalTo(b[dataHeader:])
		return Data{b}, err
	}
	text, err := json.Marshal(o)
	b := binary.BigEndian.AppendUint64([]byte{formJSON}, revision)
	return Data{append(b, text...)}, err
}

// Into reads the object into out, a pointer to its type, and overwrites all of it.
func (d Data) Into(out any) error {
	reflect.ValueOf(out).Elem().SetZero()
	switch {
	case len(d.bytes) > 0 && d.bytes[0] == '{':
		return json.Unmarshal(d.bytes, out)
	case len(d.bytes) < dataHeader:
	case d.bytes[0] == formJSON:
		return json.Unmarshal(d.bytes[dataHeader:], out)
	case d.bytes[0] == formProtobuf:
		m, ok := asMessage(out)
		if !ok {
			return fmt.Errorf("an object at rest cannot be read as a %T", out)
		}
		return m.Unmarshal(d.bytes[dataHeader:])
	}
	return errors.New("an object at rest is damaged, or of a newer version of the program")
}

// Protobuf is the object as Kubernetes has it on the wire, without an envelope; false
// for objects that are not at rest like that. It is part of the data.
func (d Data) Protobuf() ([]byte, bool) {
	if len(d.bytes) < dataHeader || d.bytes[0] != formProtobuf {
		return nil, false
	}
	return d.bytes[dataHeader:], true
}

// revision is the resourceVersion of the object.
func (d Data) revision() (string, error) {
	if len(d.bytes) >= dataHeader && d.bytes[0] != '{' {
		return strconv.FormatUint(binary.BigEndian.Uint64(d.bytes[1:]), 10), nil
	}
	var have struct {
		Metadata struct {
			ResourceVersion string `json:"resourceVersion"`
		} `json:"metadata"`
	}
	err := json.Unmarshal(d.bytes, &have)
	return have.Metadata.ResourceVersion, err
}
