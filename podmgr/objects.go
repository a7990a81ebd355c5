// SPDX-License-Identifier: Apache-2.0

package podmgr

import (
	"errors"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"

	"github.com/minikubelet/minikubelet/store"
)

// objects reads the objects that a Pod refers to. An object that is not there is a
// *missingError with a Kubernetes NotFound error in it.
type objects interface {
	configMap(namespace, name string) (*corev1.ConfigMap, error)
	secret(namespace, name string) (*corev1.Secret, error)
}

// missingError says that an object, or a key of one, is not there. Only a change of
// an object that the Pod refers to mends it: to try again before is of no use.
type missingError struct{ err error }

func (e *missingError) Error() string { return e.err.Error() }
func (e *missingError) Unwrap() error { return e.err }

// isMissing tells whether that is all that is wrong.
func isMissing(err error) bool {
	var many utilerrors.Aggregate // errors.As does not look into it
	if errors.As(err, &many) {
		for _, one := range many.Errors() {
			if !isMissing(one) {
				return false
			}
		}
		return true
	}
	var missing *missingError
	return errors.As(err, &missing)
}

// isAbsent tells whether it is the object itself that is not there.
func isAbsent(err error) bool { return isMissing(err) && apierrors.IsNotFound(err) }

// storeObjects reads them from the store.
type storeObjects struct{ store *store.Store }

func (o storeObjects) configMap(namespace, name string) (*corev1.ConfigMap, error) {
	var out corev1.ConfigMap
	return &out, absent("configmap", name, o.store.Get(ConfigMaps, namespace, name, &out))
}

func (o storeObjects) secret(namespace, name string) (*corev1.Secret, error) {
	var out corev1.Secret
	return &out, absent("secret", name, o.store.Get(Secrets, namespace, name, &out))
}

// absent says it as the kubelet does, which names the resource in the singular.
func absent(kind, name string, err error) error {
	if !apierrors.IsNotFound(err) {
		return err
	}
	return &missingError{apierrors.NewNotFound(schema.GroupResource{Resource: kind}, name)}
}

func isOptional(optional *bool) bool { return optional != nil && *optional }
