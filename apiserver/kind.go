// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"encoding/json"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/minikubelet/minikubelet/store"
)

// kind declares a resource: all that the generic handlers need to know of it.
type kind struct {
	name, singular, kind string // pods, pod, Pod
	short, categories    []string
	namespaced           bool
	verbs, subresources  []string

	object func() store.Object
	list   func() runtime.Object

	columns []metav1.TableColumnDefinition
	cells   func(store.Object) []any
	// fields are what field selectors may ask for besides the name and namespace.
	fields func(store.Object) fields.Set
	// strategy is how the kind is written; nil when it is read only.
	strategy *strategy
}

// strategy is what a kind does of its own when it is written. The objects are the
// caller's own.
type strategy struct {
	// create completes a new object and checks it.
	create func(o store.Object) (field.ErrorList, []string)
	// update completes an object that replaces old and checks it.
	update func(o, old store.Object) (field.ErrorList, []string)
	// refuse is why a stored object must not be changed at all; nil when it may.
	refuse func(o store.Object) error
	// end marks an object as ending, when that takes time, and false when it is marked
	// so already.
	end func(o store.Object, seconds *int64) bool
}

var (
	readVerbs = []string{"get", "list", "watch"}
	allVerbs  = []string{"create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"}
	coreV1    = corev1.SchemeGroupVersion
)

func (k *kind) can(verb string) bool { return slices.Contains(k.verbs, verb) }

func (k *kind) gvk() schema.GroupVersionKind { return coreV1.WithKind(k.kind) }

func (k *kind) groupResource() schema.GroupResource { return schema.GroupResource{Resource: k.name} }

// decode makes an object of what the store has.
func (k *kind) decode(data []byte) (store.Object, error) {
	o := k.object()
	err := json.Unmarshal(data, o)
	return o, err
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

// column is one of the table's. Those with priority 0 are always shown, the
// others in the wide form.
func column(name, kind string, priority int32, description string) metav1.TableColumnDefinition {
	c := metav1.TableColumnDefinition{Name: name, Type: kind, Priority: priority, Description: description}
	if name == "Name" && priority == 0 {
		c.Format = "name"
	}
	return c
}
