// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"net/http"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// authenticate finds who sends a request over the network: by a certificate of
// the node's CA, whose common name is the user and whose organisations are the
// groups; by a ServiceAccount's token; by one of the token file. Who shows nothing
// is anonymous, who shows a wrong token is refused.
func (s *Server) authenticate(r *http.Request) (*Identity, error) {
	if r.TLS != nil && len(r.TLS.VerifiedChains) > 0 {
		if who := certificateIdentity(r.TLS.VerifiedChains[0][0]); who != nil {
			return who, nil
		}
	}
	header := strings.TrimSpace(r.Header.Get("Authorization"))
	if header == "" {
		return anonymousIdentity(), nil
	}
	scheme, token, _ := strings.Cut(header, " ")
	if token = strings.TrimSpace(token); !strings.EqualFold(scheme, "Bearer") || token == "" {
		return nil, apierrors.NewUnauthorized("Unauthorized")
	}
	who := s.tokenIdentity(token)
	if who == nil {
		return nil, apierrors.NewUnauthorized("Unauthorized")
	}
	return who, nil
}

// certificateIdentity is nil for a certificate without a name.
func certificateIdentity(c *x509.Certificate) *Identity {
	if c.Subject.CommonName == "" {
		return nil
	}
	sum := sha256.Sum256(c.Raw)
	who := &Identity{
		Name: c.Subject.CommonName, Groups: c.Subject.Organization,
		Extra: map[string][]string{extraCredential: {"X509SHA256=" + hex.EncodeToString(sum[:])}},
	}
	return who.authenticated()
}

// tokenIdentity is whose token it is, for the API itself; nil when nobody's.
func (s *Server) tokenIdentity(token string) *Identity {
	return s.cfg.TokenFile.find(token)
}
