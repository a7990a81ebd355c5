// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"bytes"
	"context"
	"errors"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/minikubelet/minikubelet/apiserver/token"
	"github.com/minikubelet/minikubelet/store"
)

// accountTokens keeps the Secrets of the type kubernetes.io/service-account-token, as
// kube-controller-manager does: they get a token that lasts, the CA and the namespace,
// and go with the ServiceAccount that their annotation names. Those from manifest
// files are left as they are.
type accountTokens struct {
	store  *store.Store
	tokens *token.Authority
	ca     func() []byte
	// failed hears of what could not be written.
	failed func(secret *corev1.Secret, err error)
}

// keep works until ctx ends.
func (a *accountTokens) keep(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan error, 2)
	for _, resource := range []string{secrets, serviceAccounts} {
		go func() {
			err := a.store.Follow(ctx, resource, store.Follower{All: func() error { return a.putAll("") }, See: a.see})
			cancel()
			done <- err
		}()
	}
	return errors.Join(<-done, <-done)
}

func (a *accountTokens) see(e store.Event) (work bool) {
	switch o := e.Object.(type) {
	case *corev1.Secret:
		if e.Type != store.Deleted {
			a.try(o)
		}
	case *corev1.ServiceAccount:
		if err := a.putAll(o.Namespace); err != nil {
			a.failed(&corev1.Secret{ObjectMeta: o.ObjectMeta}, err)
		}
	}
	return false
}

// putAll looks at the Secrets of a namespace, or of all.
func (a *accountTokens) putAll(namespace string) error {
	var list []*corev1.Secret
	_, err := a.store.List(secrets, namespace, func(data store.Data) error {
		s := new(corev1.Secret)
		err := data.Into(s)
		list = append(list, s)
		return err
	})
	for _, s := range list {
		a.try(s)
	}
	return err
}

func (a *accountTokens) try(s *corev1.Secret) {
	if s.Type != corev1.SecretTypeServiceAccountToken || s.DeletionTimestamp != nil || s.Annotations[annotationSource] != "" {
		return
	}
	err := a.put(s.DeepCopy())
	if err != nil && !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) { // else its next event is on its way
		a.failed(s, err)
	}
}

// put completes a Secret, or removes it when its ServiceAccount is gone or another one.
func (a *accountTokens) put(s *corev1.Secret) error {
	var account corev1.ServiceAccount
	err := a.store.Get(serviceAccounts, s.Namespace, s.Annotations[corev1.ServiceAccountNameKey], &account)
	uid := s.Annotations[corev1.ServiceAccountUIDKey]
	switch {
	case apierrors.IsNotFound(err), err == nil && uid != "" && uid != string(account.UID):
		if len(s.Finalizers) > 0 {
			return nil // whoever has put them there sees that the ServiceAccount is gone
		}
		return a.store.Delete(secrets, s)
	case err != nil:
		return err
	}
	want := map[string][]byte{corev1.ServiceAccountRootCAKey: a.ca(), corev1.ServiceAccountNamespaceKey: []byte(s.Namespace)}
	if text := s.Data[corev1.ServiceAccountTokenKey]; len(text) > 0 {
		want[corev1.ServiceAccountTokenKey] = text
	} else if want[corev1.ServiceAccountTokenKey], err = a.tokens.Lasting(&account, s); err != nil {
		return err
	}
	changed := uid == ""
	if s.Data == nil {
		s.Data = make(map[string][]byte)
	}
	for key, value := range want {
		if !bytes.Equal(s.Data[key], value) {
			s.Data[key], changed = value, true
		}
	}
	if !changed {
		return nil
	}
	s.Annotations[corev1.ServiceAccountUIDKey] = string(account.UID)
	return a.store.Update(secrets, s)
}

// keepAccountTokens gives Secrets for tokens their tokens.
func (f *front) keepAccountTokens(ctx context.Context) {
	if err := f.accountTokens().keep(ctx); err != nil {
		f.agent.log.Error("Secrets for tokens of ServiceAccounts no longer get them; restart the agent", "err", err)
	}
}

func (f *front) accountTokens() *accountTokens {
	return &accountTokens{store: f.agent.store, tokens: f.agent.tokens, ca: f.pki.CA, failed: func(s *corev1.Secret, err error) {
		f.agent.log.Warn("a Secret lacks the token of its ServiceAccount", "namespace", s.Namespace, "name", s.Name, "err", err)
	}}
}
