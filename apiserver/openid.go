// SPDX-License-Identifier: Apache-2.0

package apiserver

import "net/http"

// Others who are shown a ServiceAccount's token check it with these.
const (
	discoveryPath = "/.well-known/openid-configuration"
	keySetPath    = "/openid/v1/jwks"
)

func (s *Server) openIDDiscovery(w http.ResponseWriter, r *http.Request) error {
	if s.cfg.Tokens == nil {
		return notFoundPath()
	}
	data, err := s.cfg.Tokens.Discovery("https://" + r.Host + keySetPath)
	if err != nil {
		return err
	}
	_ = writeBody(w, r, http.StatusOK, "application/json", data) // the client may be gone
	return nil
}

func (s *Server) openIDKeySet(w http.ResponseWriter, r *http.Request) error {
	if s.cfg.Tokens == nil {
		return notFoundPath()
	}
	data, err := s.cfg.Tokens.KeySet()
	if err != nil {
		return err
	}
	_ = writeBody(w, r, http.StatusOK, "application/jwk-set+json", data) // the client may be gone
	return nil
}
