// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"github.com/minikubelet/minikubelet/store"
)

// view is for a kind whose objects are those of another kind of the same name, in
// another form. The functions share what the forms have in common.
type view struct {
	stored           func() store.Object
	fromCore, toCore func(store.Object) store.Object
}

// shown is an object of the store in the kind's form.
func (k *kind) shown(o store.Object) store.Object {
	if k.view == nil || o == nil {
		return o
	}
	return k.view.fromCore(o)
}

// load reads an object of a kind, the caller's own.
func (s *Server) load(k *kind, namespace, name string) (store.Object, error) {
	o := k.object()
	if k.view != nil {
		o = k.view.stored()
	}
	if err := s.cfg.Store.Get(k.name, namespace, name, o); err != nil {
		return nil, k.failed(err, name)
	}
	return k.shown(o), nil
}

// save does a write of the store with an object of a kind, which gets its new
// resourceVersion.
func (k *kind) save(write func(string, store.Object) error, o store.Object) error {
	if k.view == nil {
		return k.failed(write(k.name, o), o.GetName())
	}
	stored := k.view.toCore(o)
	err := write(k.name, stored)
	o.SetResourceVersion(stored.GetResourceVersion())
	return k.failed(err, o.GetName())
}
