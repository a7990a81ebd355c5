// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"encoding/binary"
	"fmt"
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/minikubelet/minikubelet/store"
)

// Objects are at rest as they are on the wire when it is protobuf. Whoever wants
// them all, or one, gets those bytes: nothing is decoded.

// plain tells whether an answer shows a kind's stored objects as they are.
func (k *kind) plain(f form) bool {
	return k.stores() && f.as == "" && f.info.MediaType == runtime.ContentTypeProtobuf
}

// wire is an object as protobuf.
func (k *kind) wire(data store.Data) ([]byte, error) {
	if raw, ok := data.Protobuf(); ok {
		return raw, nil
	}
	o, err := k.decode(data)
	if err != nil {
		return nil, err
	}
	m, ok := o.(interface{ Marshal() ([]byte, error) })
	if !ok {
		return nil, apierrors.NewInternalError(fmt.Errorf("%s have no protobuf form", k.name))
	}
	return m.Marshal()
}

// getRaw answers with one object.
func (s *Server) getRaw(w http.ResponseWriter, r *http.Request, k *kind, req request) error {
	b := bodies.Get().(*body)
	err := s.cfg.Store.View(k.name, req.namespace, req.name, func(data store.Data) error {
		wire, err := k.wire(data)
		b.bytes = append(b.bytes, wire...)
		return err
	})
	if err != nil {
		return k.failed(err, req.name)
	}
	b.sent(answerRaw(w, r, k.groupVersion().String(), k.kind, b.bytes))
	return nil
}

// listRaw answers with a page of the objects.
func (s *Server) listRaw(w http.ResponseWriter, r *http.Request, k *kind, namespace string, p page) error {
	items := bodies.Get().(*body)
	var last string
	var n int
	var more int64
	revision, err := s.scan(k, namespace, p, func(key string, data store.Data) error {
		if p.limit > 0 && n == p.limit {
			more++
			return nil
		}
		raw, err := k.wire(data)
		if err != nil {
			return err
		}
		n, last, items.bytes = n+1, key, appendField(items.bytes, 2, raw)
		return nil
	})
	if err != nil {
		return err
	}
	m, err := pageMeta(revision, last, more, true)
	if err != nil {
		return err
	}
	head, err := m.Marshal()
	if err != nil {
		return apierrors.NewInternalError(err)
	}
	items.sent(answerRaw(w, r, k.groupVersion().String(), k.kind+"List", appendField(nil, 1, head), items.bytes))
	return nil
}

// appendField adds a field of a protobuf message that is a message itself. In all
// lists of Kubernetes' API the metadata are field 1 and the items field 2.
func appendField(to []byte, number byte, message []byte) []byte {
	return append(appendFieldHead(to, number, len(message)), message...)
}

func appendFieldHead(to []byte, number byte, size int) []byte {
	return binary.AppendUvarint(append(to, number<<3|2), uint64(size))
}

// answerRaw writes a message, which is in parts, in the envelope that Kubernetes puts
// around protobuf. The error is that of writing: the client may be gone.
func answerRaw(w http.ResponseWriter, r *http.Request, version, kind string, message ...[]byte) error {
	size := 0
	for _, part := range message {
		size += len(part)
	}
	envelope := runtime.Unknown{TypeMeta: runtime.TypeMeta{APIVersion: version, Kind: kind}}
	head := make([]byte, len(protobufPrefix)+envelope.Size(), 128)
	copy(head, protobufPrefix)
	if _, err := envelope.MarshalTo(head[len(protobufPrefix):]); err != nil {
		return err // its size was asked
	}
	head = appendFieldHead(head, 2, size) // runtime.Unknown's Raw
	return writeBody(w, r, http.StatusOK, runtime.ContentTypeProtobuf, append([][]byte{head}, message...)...)
}
