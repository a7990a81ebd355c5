// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"sync"

	"k8s.io/apimachinery/pkg/watch"
)

const (
	// framesMax is how many events are kept as they are on the wire, and frameMost how
	// large one may be, in bytes.
	framesMax, frameMost = 8, 64 << 10
)

// frames keeps the newest events as watchers get them, so that an event is encoded
// once for all watchers of one kind and form that are about as quick as each other,
// and not for each. It is safe for concurrent use.
type frames struct {
	mu   sync.Mutex
	keys [framesMax]frameKey
	kept [framesMax][]byte
	next int // the oldest
}

// frameKey tells an event apart. What it shows follows from the change and from the
// kind of the event: the object before the change when that is DELETED, because it
// left the selection, else the one after it.
type frameKey struct {
	k             *kind
	mediaType, as string
	table         tableOption
	header        bool  // of a table
	second        int64 // of a table, since its ages count from when it is made
	revision      uint64
	event         watch.EventType
}

// get returns the event's frame, which nobody may change, and makes it if need be.
func (f *frames) get(key frameKey, encode func() ([]byte, error)) ([]byte, error) {
	f.mu.Lock()
	for i := range f.keys {
		if f.keys[i] == key {
			defer f.mu.Unlock()
			return f.kept[i], nil
		}
	}
	f.mu.Unlock()
	frame, err := encode()
	if err != nil || len(frame) > frameMost {
		return frame, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.keys[f.next], f.kept[f.next] = key, frame
	f.next = (f.next + 1) % framesMax
	return frame, nil
}
