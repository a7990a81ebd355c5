// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestCertificatesAreKeptAndRenewed(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "pki")
	now := time.Now()
	clock := func() time.Time { return now }
	list := []string{"localhost", "127.0.0.1", "n1"}
	names := func() []string { return list }
	d, err := open(dir, names, clock)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"ca", "server", "admin"} {
		info, err := os.Stat(d.file(name))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, mode %v", name, err, info.Mode())
		}
	}
	same := func(a, b *pair) bool { return a.cert.Equal(b.cert) }
	again, err := open(dir, names, clock)
	if err != nil || !same(again.ca, d.ca) || !same(again.server, d.server) || !same(again.admin, d.admin) {
		t.Fatalf("opened again: %v", err)
	}
	list = append(list, "192.0.2.7")
	more, err := open(dir, names, clock)
	if err != nil || !same(more.ca, d.ca) || same(more.server, d.server) || !same(more.admin, d.admin) {
		t.Fatalf("another address: %v", err)
	}
	if changed, err := d.Renew(); err != nil || changed || d.server.cert.VerifyHostname("192.0.2.7") != nil {
		t.Fatalf("another address while it is open: %v, the kubeconfig changed: %v", err, changed)
	}
	if changed, err := more.Renew(); err != nil || changed {
		t.Fatalf("nothing to renew: %v %v", changed, err)
	}
	now = now.Add(leafLife * 3 / 4)
	if changed, err := more.Renew(); err != nil || !changed || !same(more.ca, d.ca) || same(more.admin, d.admin) {
		t.Fatalf("a quarter of a leaf's life is left: %v %v", changed, err)
	}
	now = now.Add(caLife)
	if changed, err := more.Renew(); err != nil || !changed || same(more.ca, d.ca) || more.admin.cert.CheckSignatureFrom(more.ca.cert) != nil {
		t.Fatalf("the CA has expired: %v %v", changed, err)
	}
	if err := os.WriteFile(d.file("server"), []byte("damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := open(dir, names, clock); err != nil {
		t.Fatalf("a damaged file: %v", err)
	}
}

// TestClockThatIsBehind is set right later: the CA stays, and the others are good at
// either time once they were looked at.
func TestClockThatIsBehind(t *testing.T) {
	dir, names, now := t.TempDir(), func() []string { return []string{"localhost"} }, time.Now()
	clock := func() time.Time { return now }
	first, err := open(dir, names, clock)
	if err != nil {
		t.Fatal(err)
	}
	for _, now = range []time.Time{time.Unix(100, 0), now} {
		d, err := open(dir, names, clock)
		if err != nil {
			t.Fatal(err)
		}
		if !d.ca.cert.Equal(first.ca.cert) {
			t.Errorf("the CA was made anew at %v", now)
		}
		roots := x509.NewCertPool()
		roots.AddCert(first.ca.cert)
		for _, leaf := range []*pair{d.server, d.admin} {
			if _, err := leaf.cert.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}); err != nil {
				t.Errorf("%s at %v: %v", leaf.cert.Subject, now, err)
			}
		}
	}
}

func TestAdministratorIsKnown(t *testing.T) {
	d, err := Open(t.TempDir(), func() []string { return []string{"127.0.0.1"} })
	if err != nil {
		t.Fatal(err)
	}
	other, err := Open(t.TempDir(), func() []string { return []string{"127.0.0.1"} })
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if len(r.TLS.VerifiedChains) == 0 {
			w.WriteHeader(http.StatusForbidden)
		}
	}))
	server.TLS = d.ServerConfig()
	server.StartTLS()
	defer server.Close()
	get := func(certs ...tls.Certificate) (int, error) {
		pool := x509.NewCertPool()
		pool.AddCert(d.ca.cert)
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: pool, Certificates: certs}}}
		r, err := client.Get(server.URL)
		if err != nil {
			return 0, err
		}
		return r.StatusCode, r.Body.Close()
	}
	if code, err := get(*d.admin.tls); err != nil || code != http.StatusOK {
		t.Errorf("administrator: %d %v", code, err)
	}
	if code, err := get(); err != nil || code != http.StatusForbidden {
		t.Errorf("nobody: %d %v", code, err)
	}
	for name, p := range map[string]*pair{"another CA's": other.admin, "the server's own": d.server} {
		// Clients leave out certificates of issuers that the server does not name: then
		// they are nobody.
		if code, err := get(*p.tls); err == nil && code != http.StatusForbidden {
			t.Errorf("%s certificate: %d", name, code)
		}
	}
}
