// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"context"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/minikubelet/minikubelet/store"
)

// tryAgain is how long work in the background waits after a write that failed.
const tryAgain = time.Second

// id names an object of the store.
type id struct {
	kind            *kind
	namespace, name string
}

// collector removes what nothing needs any more: objects whose owners are gone,
// with the foreground and orphan policies of their deletion, and the contents of
// ending namespaces. One goroutine works on it, woken by the store.
type collector struct {
	s *Server
	// byResource has the kind of each of the store's resources.
	byResource map[string]*kind
	// dependents are the objects that name an owner, by its UID, and owners the owners
	// that an object names.
	dependents map[types.UID]map[id]bool
	owners     map[id][]metav1.OwnerReference
	// ending are the namespaces that are being emptied.
	ending map[string]bool
	// objects and spaces are what has to be looked at.
	objects map[id]bool
	spaces  map[string]bool
}

func newCollector(s *Server) *collector {
	c := &collector{s: s, byResource: make(map[string]*kind)}
	for _, k := range s.kinds {
		if k.stores() {
			c.byResource[k.name] = k
		}
	}
	return c
}

// Collect collects garbage until ctx ends.
func (s *Server) Collect(ctx context.Context) error {
	c := newCollector(s)
	return s.cfg.Store.Follow(ctx, store.All, store.Follower{
		All:   c.begin,
		See:   func(e store.Event) bool { c.see(e); return true }, // with each, what failed is tried again
		Work:  c.work,
		Retry: tryAgain,
	})
}

// begin looks at everything that is stored.
func (c *collector) begin() error {
	c.dependents, c.owners = make(map[types.UID]map[id]bool), make(map[id][]metav1.OwnerReference)
	c.ending, c.objects, c.spaces = make(map[string]bool), make(map[id]bool), make(map[string]bool)
	for resource, k := range c.byResource {
		_, err := c.s.cfg.Store.List(resource, "", func(data store.Data) error {
			o, err := k.decode(data)
			if err == nil {
				c.take(k, o)
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func idOf(k *kind, o store.Object) id { return id{k, o.GetNamespace(), o.GetName()} }

// see takes a change to heart.
func (c *collector) see(e store.Event) {
	k := c.byResource[e.Resource]
	if k == nil {
		return
	}
	o := e.Object
	if ns := o.GetNamespace(); c.ending[ns] {
		c.spaces[ns] = true
	}
	if e.Type != store.Deleted {
		c.take(k, o)
		return
	}
	c.forget(idOf(k, o))
	if k.name == namespaces {
		delete(c.ending, o.GetName())
	}
	for dependent := range c.dependents[o.GetUID()] {
		c.objects[dependent] = true
	}
}

// take notes an object's owners, and whether there is something to do with it.
func (c *collector) take(k *kind, o store.Object) {
	me := idOf(k, o)
	c.forget(me)
	if refs := o.GetOwnerReferences(); len(refs) > 0 {
		c.owners[me] = refs
		for _, r := range refs {
			if c.dependents[r.UID] == nil {
				c.dependents[r.UID] = make(map[id]bool)
			}
			c.dependents[r.UID][me] = true
		}
		c.objects[me] = true
	}
	if o.GetDeletionTimestamp() == nil {
		return
	}
	if k.name == namespaces {
		c.ending[o.GetName()], c.spaces[o.GetName()] = true, true
	}
	for _, f := range o.GetFinalizers() {
		if f == metav1.FinalizerOrphanDependents || f == metav1.FinalizerDeleteDependents {
			c.objects[me] = true
		}
	}
}

// forget is take's contrary. An owner that waits for this object may go on.
func (c *collector) forget(me id) {
	for _, r := range c.owners[me] {
		if of, ok := c.find(r, me.namespace); ok {
			c.objects[of] = true
		}
		if delete(c.dependents[r.UID], me); len(c.dependents[r.UID]) == 0 {
			delete(c.dependents, r.UID)
		}
	}
	delete(c.owners, me)
}

// work does what there is to do; false when something has to be tried again. What it
// finds to be looked at meanwhile is done too, each object once: what it changes
// comes back as an event.
func (c *collector) work() bool {
	seen, failed := make(map[id]bool), make(map[id]bool)
	for len(c.objects) > 0 {
		round := c.objects
		c.objects = make(map[id]bool)
		for me := range round {
			if seen[me] {
				continue
			}
			seen[me] = true
			if !c.done(c.object(me), "object", me.kind.name+" "+me.namespace+"/"+me.name) {
				failed[me] = true
			}
		}
	}
	c.objects = failed
	ok := len(failed) == 0
	for ns := range c.spaces {
		if c.done(c.s.emptyNamespace(ns), "namespace", ns) {
			delete(c.spaces, ns)
		} else {
			ok = false
		}
	}
	return ok
}

// done tells whether nothing is left to do after an error: a conflict means that a
// change is on its way here, and what is from a file stays as long as that.
func (c *collector) done(err error, what, name string) bool {
	if err == nil || apierrors.IsNotFound(err) || apierrors.IsForbidden(err) {
		return true
	}
	if !apierrors.IsConflict(err) {
		c.s.cfg.Log.Warn("cannot collect garbage; it is tried again", what, name, "err", err)
	}
	return false
}

// find is the object that a reference names.
func (c *collector) find(r metav1.OwnerReference, namespace string) (id, bool) {
	for _, k := range c.byResource {
		if k.groupVersion().String() != r.APIVersion || k.kind != r.Kind {
			continue
		}
		if !k.namespaced {
			namespace = ""
		}
		return id{k, namespace, r.Name}, true
	}
	return id{}, false
}
