// SPDX-License-Identifier: Apache-2.0

package token

import (
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/uuid"

	"github.com/minikubelet/minikubelet/store"
)

// Issuer is who signs, and the audience of tokens for the node's API itself.
const Issuer = "https://kubernetes.default.svc"

// Authority makes and checks tokens. It is safe for concurrent use.
type Authority struct {
	store  *store.Store
	key    *signingKey
	signer jose.Signer
	issuer string
	now    func() time.Time
}

// Open reads the signing key's file or has write make it: the whole file or none
// of it, for its owner alone.
func Open(path string, write func(path string, data []byte) error, s *store.Store) (*Authority, error) {
	key, err := openKey(path, write)
	if err != nil {
		return nil, err
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: algorithm, Key: jose.JSONWebKey{Key: key.private, KeyID: key.id}}, nil)
	if err != nil {
		return nil, err
	}
	return &Authority{store: s, key: key, signer: signer, issuer: Issuer, now: time.Now}, nil
}

// claims are Kubernetes' own, under one key.
type claims struct {
	// Audience is a list, even of one, as Kubernetes writes it.
	Audience   []string `json:"aud"`
	Kubernetes binding  `json:"kubernetes.io"`
}

// binding says whose a token is and what it ends with.
type binding struct {
	Namespace string           `json:"namespace,omitempty"`
	Account   ref              `json:"serviceaccount"`
	Pod       *ref             `json:"pod,omitempty"`
	Secret    *ref             `json:"secret,omitempty"`
	Node      *ref             `json:"node,omitempty"`
	WarnAfter *jwt.NumericDate `json:"warnafter,omitempty"`
}

type ref struct {
	Name string    `json:"name,omitempty"`
	UID  types.UID `json:"uid,omitempty"`
}

// sign makes a token. life is 0 for one that does not end by time. warnAfter is when its
// users are to be told that they use an old one, 0 for never.
func (a *Authority) sign(b binding, audiences []string, life, warnAfter time.Duration) (string, error) {
	now := a.now()
	if warnAfter > 0 {
		b.WarnAfter = jwt.NewNumericDate(now.Add(warnAfter))
	}
	public := jwt.Claims{
		Issuer: a.issuer, Subject: "system:serviceaccount:" + b.Namespace + ":" + b.Account.Name, ID: string(uuid.NewUUID()),
		IssuedAt: jwt.NewNumericDate(now), NotBefore: jwt.NewNumericDate(now),
	}
	if life > 0 {
		public.Expiry = jwt.NewNumericDate(now.Add(life))
	}
	return jwt.Signed(a.signer).Claims(public).Claims(claims{audiences, b}).Serialize()
}
