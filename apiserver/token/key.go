// SPDX-License-Identifier: Apache-2.0

package token

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/go-jose/go-jose/v4"
)

// algorithm is the only one that is made and taken.
const algorithm = jose.ES256

// signingKey is what tokens are signed with.
type signingKey struct {
	private *ecdsa.PrivateKey
	id      string
}

// openKey reads the key's file, or has write make one that its owner alone can
// read. A damaged file is an error: with a new key, all tokens would be wrong.
func openKey(path string, write func(path string, data []byte) error) (*signingKey, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		if data, err = newKey(); err == nil {
			err = write(path, data)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("signing key of ServiceAccounts: %w", err)
	}
	key, err := parseKey(data)
	if err != nil {
		return nil, fmt.Errorf("signing key of ServiceAccounts %s: %w; remove the file to have a new key made, with which all tokens have to be made anew", path, err)
	}
	return key, nil
}

func newKey() ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

func parseKey(data []byte) (*signingKey, error) {
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, errors.New("there is no PEM block in it")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, errors.New("it is no PKCS #8 key") // the cause might tell of the key
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok || key.Curve != elliptic.P256() {
		return nil, errors.New("it is no key on the curve P-256")
	}
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(der)
	return &signingKey{key, base64.RawURLEncoding.EncodeToString(sum[:])}, nil
}

// KeySet is the JSON Web Key Set by which others check tokens.
func (a *Authority) KeySet() ([]byte, error) {
	return json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{
		Key: &a.key.private.PublicKey, KeyID: a.key.id, Algorithm: string(algorithm), Use: "sig",
	}}})
}

// Discovery is the OpenID Connect discovery document. keys is the URL of the key
// set.
func (a *Authority) Discovery(keys string) ([]byte, error) {
	return json.Marshal(struct {
		Issuer        string   `json:"issuer"`
		JWKSURI       string   `json:"jwks_uri"`
		ResponseTypes []string `json:"response_types_supported"`
		SubjectTypes  []string `json:"subject_types_supported"`
		Algorithms    []string `json:"id_token_signing_alg_values_supported"`
	}{a.issuer, keys, []string{"id_token"}, []string{"public"}, []string{string(algorithm)}})
}
