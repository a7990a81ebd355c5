// SPDX-License-Identifier: Apache-2.0

package podmgr

import (
	"errors"

	certificatesv1beta1 "k8s.io/api/certificates/v1beta1"
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

// volumeObjects reads those that volumes show.
type volumeObjects interface {
	objects
	trustBundle(name string) (*certificatesv1beta1.ClusterTrustBundle, error)
	// trustBundles are all there are.
	trustBundles() ([]*certificatesv1beta1.ClusterTrustBundle, error)
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
	return &out, absent(corev1.Resource("configmap"), name, o.store.Get(ConfigMaps, namespace, name, &out))
}

func (o storeObjects) secret(namespace, name string) (*corev1.Secret, error) {
	var out corev1.Secret
	return &out, absent(corev1.Resource("secret"), name, o.store.Get(Secrets, namespace, name, &out))
}

func (o storeObjects) trustBundle(name string) (*certificatesv1beta1.ClusterTrustBundle, error) {
	var out certificatesv1beta1.ClusterTrustBundle
	return &out, absent(certificatesv1beta1.Resource("clustertrustbundle"), name, o.store.Get(TrustBundles, "", name, &out))
}

func (o storeObjects) trustBundles() ([]*certificatesv1beta1.ClusterTrustBundle, error) {
	var out []*certificatesv1beta1.ClusterTrustBundle
	_, err := o.store.List(TrustBundles, "", func(data store.Data) error {
		b := new(certificatesv1beta1.ClusterTrustBundle)
		out = append(out, b)
		return data.Into(b)
	})
	return out, err
}

// absent says it as the kubelet does, which names the resource in the singular.
func absent(kind schema.GroupResource, name string, err error) error {
	if !apierrors.IsNotFound(err) {
		return err
	}
	return &missingError{apierrors.NewNotFound(kind, name)}
}

func isOptional(optional *bool) bool { return optional != nil && *optional }
