// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/minikubelet/minikubelet/apiserver/token"
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
	scheme, text, _ := strings.Cut(header, " ")
	if text = strings.TrimSpace(text); !strings.EqualFold(scheme, "Bearer") || text == "" {
		return nil, apierrors.NewUnauthorized("Unauthorized")
	}
	who, _, err := s.tokenIdentity(text, nil)
	if err != nil || who == nil {
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

// tokenIdentity is whose token it is, and for which of the audiences; none of them
// means the API itself. It is nil for a token of nobody; the error is why one of a
// ServiceAccount is not good.
func (s *Server) tokenIdentity(text string, audiences []string) (*Identity, []string, error) {
	if len(audiences) == 0 {
		audiences = []string{token.Issuer}
	}
	if who := s.cfg.TokenFile.find(text); who != nil {
		if !slices.Contains(audiences, token.Issuer) {
			return nil, nil, nil
		}
		return who, []string{token.Issuer}, nil
	}
	if s.cfg.Tokens == nil {
		return nil, nil, nil
	}
	account, err := s.cfg.Tokens.Verify(text, audiences)
	if errors.Is(err, token.ErrNotOurs) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("invalid bearer token: %w", err)
	}
	return accountIdentity(account), account.Audiences, nil
}

// accountIdentity has in its extra fields what the token is bound to.
func accountIdentity(a *token.Account) *Identity {
	who := &Identity{
		Name: serviceAccountUsers + a.Namespace + ":" + a.Name, UID: string(a.UID), Groups: serviceAccountGroups(a.Namespace),
		Extra: make(map[string][]string),
	}
	for key, value := range map[string]string{
		"pod-name": a.PodName, "pod-uid": string(a.PodUID), "node-name": a.NodeName, "node-uid": string(a.NodeUID),
	} {
		if value != "" {
			who.Extra["authentication.kubernetes.io/"+key] = []string{value}
		}
	}
	if a.ID != "" {
		who.Extra[extraCredential] = []string{"JTI=" + a.ID}
	}
	return who.authenticated()
}
