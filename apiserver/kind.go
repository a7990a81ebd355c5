// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"context"
	"net/http"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/minikubelet/minikubelet/store"
)

// kind declares a resource: all that the generic handlers need to know of it.
type kind struct {
	group, version       string // "" and v1 for the core
	name, singular, kind string // pods, pod, Pod
	short, categories    []string
	namespaced           bool
	verbs                []string
	subresources         []subresource

	// types makes the group's Go types known.
	types  func(*runtime.Scheme) error
	object func() store.Object
	list   func() runtime.Object

	columns []metav1.TableColumnDefinition
	cells   func(store.Object) []any
	// fields are what field selectors may ask for besides the name and namespace.
	fields func(store.Object) fields.Set
	// measure makes the objects of a kind that is in no store, those of a namespace or
	// of all when it is empty. Such a kind can only be read, and not be watched.
	measure func(ctx context.Context, namespace string) ([]store.Object, error)
	// strategy is how the kind is written; nil when it is read only.
	strategy *strategy
	// makes says that an update of what is not there makes it, and versioned that an
	// update must say of which version it is: as Kubernetes has it for the kind.
	makes, versioned bool
	// complete sets, before the strategy checks it, what a new object gets from others.
	// It may be nil.
	complete func(s *Server, r *http.Request, o store.Object) error
	// admit decides, on an object that the strategy has checked, whether the request's
	// sender may write it; old is nil for a new one. It may be nil.
	admit func(s *Server, r *http.Request, o, old store.Object) (warnings []string, err error)
	// created is told of a new object that was stored, and of how its client sent it. It
	// may be nil.
	created func(s *Server, o, sent store.Object)
	// view is set when the objects are those of another kind.
	view *view
	// review answers an object that is sent to be created by completing it: it is not
	// stored. Kinds that have it can nothing but create.
	review func(s *Server, r *http.Request, o store.Object) error
	// instead is set for kinds of which there are no objects, since this node has no
	// controller for them: what their user is to do instead.
	instead string
}

// subresource declares what hangs below an object, like a Pod's log.
type subresource struct {
	name  string
	verbs []string // as RBAC names them
	// kind is what it takes or answers.
	kind schema.GroupVersionKind
	// long says that a request goes on until somebody ends it: it has no deadline and
	// counts as a watch.
	long bool
	// follows says that a request is long if its query says so with follow=true.
	follows bool
	// deep says that a path may follow its name, as with proxy; see request.path.
	deep  bool
	serve func(s *Server, w http.ResponseWriter, r *http.Request, req request) error
}

// strategy is what a kind does of its own when it is written. The objects are the
// caller's own.
type strategy struct {
	// create completes a new object and checks it.
	create func(o store.Object) (field.ErrorList, []string)
	// update completes an object that replaces old and checks it.
	update func(o, old store.Object) (field.ErrorList, []string)
	// admit is called first for a new object: it may complete it, or be why it cannot
	// be. It may be nil.
	admit func(o store.Object) error
	// end marks an object as ending, and false when it is marked so already. It is nil
	// for kinds whose objects are removed at once.
	end func(o store.Object, seconds *int64) bool
	// open says that objects from files may be changed, too.
	open bool
	// keep is why an object must not be deleted; it may be nil.
	keep func(o store.Object) error
}

var (
	allVerbs = []string{"create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"}
	coreV1   = schema.GroupVersion{Version: "v1"}
)

func (k *kind) can(verb string) bool { return slices.Contains(k.verbs, verb) }

func (k *kind) groupVersion() schema.GroupVersion {
	return schema.GroupVersion{Group: k.group, Version: k.version}
}

func (k *kind) gvk() schema.GroupVersionKind { return k.groupVersion().WithKind(k.kind) }

func (k *kind) groupResource() schema.GroupResource {
	return schema.GroupResource{Group: k.group, Resource: k.name}
}

// stores tells whether the kind's objects are in the store; others are measured, are
// answers to what is sent, are another kind's or do not exist.
func (k *kind) stores() bool {
	return k.measure == nil && k.review == nil && k.view == nil && k.instead == ""
}

// declare completes a kind by its Go types.
func declare[T, L any](k *kind) *kind {
	k.object = func() store.Object { return any(new(T)).(store.Object) }
	k.list = func() runtime.Object { return any(new(L)).(runtime.Object) }
	return k
}

func (k *kind) admitted(s *Server, r *http.Request, o, old store.Object) ([]string, error) {
	if k.admit == nil {
		return nil, nil
	}
	return k.admit(s, r, o, old)
}

// sub finds a subresource, nil when there is none of that name.
func (k *kind) sub(name string) *subresource {
	for i := range k.subresources {
		if k.subresources[i].name == name {
			return &k.subresources[i]
		}
	}
	return nil
}

// failed gives an error of the store the name that the API has for the resource.
func (k *kind) failed(err error, name string) error {
	switch {
	case k.group == "" || err == nil:
		return err
	case apierrors.IsNotFound(err):
		return apierrors.NewNotFound(k.groupResource(), name)
	case apierrors.IsAlreadyExists(err):
		return apierrors.NewAlreadyExists(k.groupResource(), name)
	case apierrors.IsConflict(err):
		return apierrors.NewConflict(k.groupResource(), name, errModified)
	}
	return err
}

// decode makes an object of what the store has.
func (k *kind) decode(data store.Data) (store.Object, error) {
	o := k.object()
	if k.view != nil {
		o = k.view.stored()
	}
	err := data.Into(o)
	return k.shown(o), err
}

// fieldSet is what field selectors see of an object.
func (k *kind) fieldSet(o store.Object) fields.Set {
	set := fields.Set{}
	if k.fields != nil {
		set = k.fields(o)
	}
	set["metadata.name"] = o.GetName()
	if k.namespaced {
		set["metadata.namespace"] = o.GetNamespace()
	}
	return set
}

// knowsField tells whether a selector may name the field.
func (k *kind) knowsField(name string) bool {
	_, ok := k.fieldSet(k.object())[name]
	return ok
}

// madeColumns and madeCells are the table of kinds of which kubectl shows no more than
// when an object was made.
func madeColumns(kind string) []metav1.TableColumnDefinition {
	return []metav1.TableColumnDefinition{
		column("Name", "string", 0, "Name of the "+kind+"."),
		column("Created At", "string", 0, "When it was made."),
	}
}

func madeCells(o store.Object) []any {
	return []any{o.GetName(), o.GetCreationTimestamp().UTC().Format(time.RFC3339)}
}

// column is one of the table's. Those with priority 0 are always shown, the
// others in the wide form.
func column(name, kind string, priority int32, description string) metav1.TableColumnDefinition {
	c := metav1.TableColumnDefinition{Name: name, Type: kind, Priority: priority, Description: description}
	if name == "Name" && priority == 0 {
		c.Format = "name"
	}
	return c
}
