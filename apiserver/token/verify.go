// SPDX-License-Identifier: Apache-2.0

package token

import (
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// sizeMax is how long a token may be, in bytes: ours have a tenth of that.
const sizeMax = 16 << 10

// Account is what a good token tells of its bearer.
type Account struct {
	Namespace, Name string
	UID             types.UID
	// ID is the token's own.
	ID string
	// PodName and NodeName are those that the token is bound to, if it is.
	PodName, NodeName string
	PodUID, NodeUID   types.UID
	// Audiences are those of the token that were asked for.
	Audiences []string
	// Stale says that the token should have been renewed.
	Stale bool
}

// ErrNotOurs says that a token is not one of this authority.
var ErrNotOurs = errors.New("not a token of a ServiceAccount of this node")

// Verify checks a token for one of the audiences; none means the API itself. It
// fails with ErrNotOurs, or with what is wrong with the token.
func (a *Authority) Verify(text string, audiences []string) (*Account, error) {
	if len(text) > sizeMax || !a.looksOurs(text) {
		return nil, ErrNotOurs
	}
	parsed, err := jwt.ParseSigned(text, []jose.SignatureAlgorithm{algorithm})
	if err != nil {
		return nil, ErrNotOurs
	}
	var public jwt.Claims
	var private claims
	if err := parsed.Claims(&a.key.private.PublicKey, &public, &private); err != nil {
		return nil, errors.New("invalid signature")
	}
	if len(audiences) == 0 {
		audiences = []string{a.issuer}
	}
	var good []string
	for _, audience := range public.Audience {
		if slices.Contains(audiences, audience) {
			good = append(good, audience)
		}
	}
	if len(good) == 0 {
		return nil, fmt.Errorf("token audiences %q is invalid for the target audiences %q", []string(public.Audience), audiences)
	}
	if err := a.inTime(&public); err != nil {
		return nil, err
	}
	b := &private.Kubernetes
	if err := a.alive(b); err != nil {
		return nil, err
	}
	if public.Expiry == nil {
		if err := a.isIn(b, text); err != nil {
			return nil, err
		}
	}
	account := &Account{Namespace: b.Namespace, Name: b.Account.Name, UID: b.Account.UID, ID: public.ID, Audiences: good}
	if b.Pod != nil {
		account.PodName, account.PodUID = b.Pod.Name, b.Pod.UID
	}
	if b.Node != nil {
		account.NodeName, account.NodeUID = b.Node.Name, b.Node.UID
	}
	account.Stale = b.WarnAfter != nil && a.now().After(b.WarnAfter.Time())
	return account, nil
}

// looksOurs spares tokens of others the work of checking a signature.
func (a *Authority) looksOurs(text string) bool {
	parts := strings.Split(text, ".")
	if len(parts) != 3 {
		return false
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return false
	}
	var unchecked struct {
		Issuer string `json:"iss"`
	}
	return json.Unmarshal(payload, &unchecked) == nil && unchecked.Issuer == a.issuer
}

func (a *Authority) inTime(public *jwt.Claims) error {
	switch err := public.Validate(jwt.Expected{Time: a.now()}); {
	case err == nil:
		return nil
	case errors.Is(err, jwt.ErrExpired):
		return errors.New("service account token has expired")
	case errors.Is(err, jwt.ErrNotValidYet):
		return errors.New("service account token is not valid yet")
	case errors.Is(err, jwt.ErrIssuedInTheFuture):
		return errors.New("service account token is issued in the future")
	}
	return errors.New("service account token claims could not be validated")
}

// errGone does not tell what is there and what is not.
var errGone = errors.New("service account token has been invalidated")

// alive checks that the ServiceAccount and what the token is bound to are still
// the ones it was made for.
func (a *Authority) alive(b *binding) error {
	if err := a.same("serviceaccounts", b.Namespace, b.Account); err != nil {
		return err
	}
	switch {
	case b.Secret != nil:
		return a.same("secrets", b.Namespace, *b.Secret)
	case b.Pod != nil:
		return a.same("pods", b.Namespace, *b.Pod)
	case b.Node != nil:
		return a.same("nodes", "", *b.Node)
	}
	return nil
}

// isIn checks that a token that does not end by time is the one in its Secret.
func (a *Authority) isIn(b *binding, text string) error {
	if b.Secret == nil {
		return errGone // there are no such ones
	}
	var s corev1.Secret
	if err := a.store.Get("secrets", b.Namespace, b.Secret.Name, &s); err != nil {
		return err
	}
	if s.Type != corev1.SecretTypeServiceAccountToken || subtle.ConstantTimeCompare(s.Data[corev1.ServiceAccountTokenKey], []byte(text)) == 0 {
		return errGone
	}
	return nil
}

// same fails when the object is gone, is another one of that name, or should have
// been gone for longer than clocks may be apart.
func (a *Authority) same(resource, namespace string, want ref) error {
	var have metav1.PartialObjectMetadata
	err := a.store.Get(resource, namespace, want.Name, &have)
	switch {
	case apierrors.IsNotFound(err), err == nil && have.UID != want.UID:
		return errGone
	case err != nil:
		return err
	case have.DeletionTimestamp != nil && have.DeletionTimestamp.Time.Before(a.now().Add(-jwt.DefaultLeeway)):
		return errGone
	}
	return nil
}
