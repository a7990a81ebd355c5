// SPDX-License-Identifier: Apache-2.0

package api

import (
	"k8s.io/apimachinery/pkg/conversion"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Rules are what the Kubernetes API does with the objects of a kind when they are
// written: upstream's own defaults and validation.
type Rules struct {
	// Default completes an object. It may be called again.
	Default func(o runtime.Object)
	// Create checks a new object, Update one that takes the place of old. Both are
	// defaulted and are not changed.
	Create func(o runtime.Object) field.ErrorList
	Update func(o, old runtime.Object) field.ErrorList
}

// RulesOf makes rules of upstream's functions: T is the type of the API, I the one
// that validation knows. defaults may be nil.
func RulesOf[T, I any](defaults func(*T), convert func(*T, *I, conversion.Scope) error,
	create func(*I) field.ErrorList, update func(o, old *I) field.ErrorList) Rules {
	allowPrivileged() // in Pod templates
	internal := func(o runtime.Object) (*I, field.ErrorList) {
		out := new(I)
		if err := convert(any(o.DeepCopyObject()).(*T), out, nil); err != nil {
			return nil, field.ErrorList{field.InternalError(nil, err)}
		}
		return out, nil
	}
	return Rules{
		Default: func(o runtime.Object) {
			if defaults != nil {
				defaults(any(o).(*T))
			}
		},
		Create: func(o runtime.Object) field.ErrorList {
			in, errs := internal(o)
			if errs != nil {
				return errs
			}
			return create(in)
		},
		Update: func(o, old runtime.Object) field.ErrorList {
			in, errs := internal(o)
			if errs != nil {
				return errs
			}
			before, errs := internal(old)
			if errs != nil {
				return errs
			}
			return update(in, before)
		},
	}
}
