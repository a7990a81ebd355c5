// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/uuid"

	"github.com/minikubelet/minikubelet/store"
)

// each calls fn with every object of a resource, fn's own, as they were when it
// began.
func each[T any](s *store.Store, resource, namespace string, fn func(*T) error) error {
	var all []*T
	_, err := s.List(resource, namespace, func(data store.Data) error {
		o := new(T)
		all = append(all, o)
		return data.Into(o)
	})
	for _, o := range all {
		if err == nil {
			err = fn(o)
		}
	}
	return err
}

// Bootstrap stores the objects that are always there.
func Bootstrap(s *store.Store) error {
	for _, p := range systemPriorities() {
		p.UID, p.CreationTimestamp = uuid.NewUUID(), metav1.Now().Rfc3339Copy()
		err := s.Get("priorityclasses", "", p.Name, p.DeepCopy())
		if apierrors.IsNotFound(err) {
			err = s.Create("priorityclasses", p)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
