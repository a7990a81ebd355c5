// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"errors"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/uuid"

	"github.com/minikubelet/minikubelet/store"
)

const (
	configMaps      = "configmaps"
	serviceAccounts = "serviceaccounts"
	secrets         = "secrets"
	defaultAccount  = "default"
	// rootCA is the ConfigMap from which Pods know the API's CA.
	rootCA    = "kube-root-ca.crt"
	rootCAKey = "ca.crt"
)

// accounts gives each namespace what Pods need to speak to the API: the
// ServiceAccount "default" and the ConfigMap with the CA. It makes them anew when
// they are removed, and brings the CA back when it is changed.
type accounts struct {
	store *store.Store
	ca    func() []byte // nil: there is no API for Pods, and no ConfigMap
	// failed hears of what could not be written.
	failed func(namespace string, err error)
}

// keep works until ctx ends.
func (a *accounts) keep(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan error, 3)
	for _, resource := range []string{namespaces, serviceAccounts, configMaps} {
		go func() {
			err := a.follow(ctx, resource)
			cancel()
			done <- err
		}()
	}
	return errors.Join(<-done, <-done, <-done)
}

// follow puts what a namespace lacks after each change of a resource by which it may
// lack something.
func (a *accounts) follow(ctx context.Context, resource string) error {
	return a.store.Follow(ctx, resource, store.Follower{All: a.putAll, See: func(e store.Event) bool {
		if lacks(resource, e) {
			a.try(namespaceOf(e.Object))
		}
		return false
	}})
}

// lacks tells whether something may be missing after a change.
func lacks(resource string, e store.Event) bool {
	switch name := e.Object.GetName(); resource {
	case namespaces:
		return e.Type == store.Added
	case serviceAccounts:
		return e.Type == store.Deleted && name == defaultAccount
	default:
		return e.Type != store.Added && name == rootCA
	}
}

func namespaceOf(o store.Object) string {
	if o.GetNamespace() == "" { // a namespace itself
		return o.GetName()
	}
	return o.GetNamespace()
}

func (a *accounts) putAll() error {
	var names []string
	_, err := a.store.List(namespaces, "", func(data store.Data) error {
		var n metav1.PartialObjectMetadata
		err := data.Into(&n)
		names = append(names, n.Name)
		return err
	})
	for _, name := range names {
		a.try(name)
	}
	return err
}

func (a *accounts) try(namespace string) {
	if err := a.put(namespace); err != nil {
		a.failed(namespace, err)
	}
}

// put makes what a namespace lacks, unless it is ending.
func (a *accounts) put(namespace string) error {
	var n corev1.Namespace
	err := a.store.Get(namespaces, "", namespace, &n)
	if apierrors.IsNotFound(err) || err == nil && (n.DeletionTimestamp != nil || n.Status.Phase == corev1.NamespaceTerminating) {
		return nil
	}
	if err != nil {
		return err
	}
	var account corev1.ServiceAccount
	if err := a.store.Get(serviceAccounts, namespace, defaultAccount, &account); apierrors.IsNotFound(err) {
		err = a.store.Create(serviceAccounts, &corev1.ServiceAccount{
			TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ServiceAccount"}, ObjectMeta: newMeta(namespace, defaultAccount),
		})
		if err != nil && !apierrors.IsAlreadyExists(err) {
			return err
		}
	} else if err != nil {
		return err
	}
	if a.ca == nil {
		return nil
	}
	return a.putCA(namespace)
}

func (a *accounts) putCA(namespace string) error {
	want := map[string]string{rootCAKey: string(a.ca())}
	var have corev1.ConfigMap
	err := a.store.Get(configMaps, namespace, rootCA, &have)
	switch {
	case apierrors.IsNotFound(err):
		m := newMeta(namespace, rootCA)
		m.Annotations = map[string]string{
			"kubernetes.io/description": "The CA of this node's API, for Pods that speak to it.",
		}
		err = a.store.Create(configMaps, &corev1.ConfigMap{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"}, ObjectMeta: m, Data: want})
		if apierrors.IsAlreadyExists(err) {
			return nil
		}
		return err
	case err != nil:
		return err
	case len(have.Data) == 1 && have.Data[rootCAKey] == want[rootCAKey] && len(have.BinaryData) == 0:
		return nil
	}
	have.Data, have.BinaryData = want, nil
	err = a.store.Update(configMaps, &have)
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) { // its next event is on its way
		return nil
	}
	return err
}

func newMeta(namespace, name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: namespace, Name: name, UID: uuid.NewUUID(), CreationTimestamp: metav1.Now().Rfc3339Copy()}
}

func (f *front) accounts() *accounts {
	a := &accounts{store: f.agent.store, failed: func(namespace string, err error) {
		f.agent.log.Warn("a namespace lacks its default ServiceAccount or the CA", "namespace", namespace, "err", err)
	}}
	if f.pki != nil {
		a.ca = f.pki.CA
	}
	return a
}

// keepAccounts gives each namespace its default ServiceAccount and the CA.
func (f *front) keepAccounts(ctx context.Context) {
	if err := f.accounts().keep(ctx); err != nil {
		f.agent.log.Error("namespaces no longer get default ServiceAccounts; restart the agent", "err", err)
	}
}
