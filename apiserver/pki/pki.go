// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

const (
	caLife, leafLife = 10 * 365 * 24 * time.Hour, 365 * 24 * time.Hour
	// Certificates are renewed when this part of their life is left.
	renewPart = 3
	// clockSkew is how far clocks may be apart: leaf certificates begin in the past.
	clockSkew = time.Hour
)

// Dir is a directory of keys and certificates. Its methods are safe for
// concurrent use.
type Dir struct {
	path  string
	names func() []string // host names and addresses of the server
	now   func() time.Time

	mu                sync.Mutex
	ca, server, admin *pair
}

// pair is a certificate with its key.
type pair struct {
	cert            *x509.Certificate
	key             *ecdsa.PrivateKey
	certPEM, keyPEM []byte
	tls             *tls.Certificate
}

// Open reads the directory or makes it. names are the host names and addresses by
// which clients reach the server; they are asked for at each Renew.
func Open(path string, names func() []string) (*Dir, error) { return open(path, names, time.Now) }

func open(path string, names func() []string, now func() time.Time) (*Dir, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("certificates: %w", err)
	}
	d := &Dir{path: path, names: names, now: now}
	if _, err := d.Renew(); err != nil {
		return nil, fmt.Errorf("certificates: %w", err)
	}
	return d, nil
}

// Renew makes what is missing, about to expire, or not for the names. It tells
// whether the administrator's kubeconfig has changed by it.
func (d *Dir) Renew() (changed bool, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	names := d.names()
	ca, newCA, err := d.keep("ca", d.ca, nil, nil, func() *x509.Certificate {
		return &x509.Certificate{
			Subject: pkix.Name{CommonName: "minikubelet"}, IsCA: true, BasicConstraintsValid: true,
			KeyUsage:  x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
			NotBefore: time.Unix(0, 0), // where a clock that lost its battery begins
			NotAfter:  d.now().Add(caLife),
		}
	})
	if err != nil {
		return false, err
	}
	server, _, err := d.keep("server", d.server, ca, names, func() *x509.Certificate {
		c := &x509.Certificate{
			Subject: pkix.Name{CommonName: "minikubelet-server"}, KeyUsage: x509.KeyUsageDigitalSignature,
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, NotAfter: d.now().Add(leafLife),
		}
		for _, name := range names {
			if ip := net.ParseIP(name); ip != nil {
				c.IPAddresses = append(c.IPAddresses, ip)
			} else {
				c.DNSNames = append(c.DNSNames, name)
			}
		}
		return c
	})
	if err != nil {
		return false, err
	}
	admin, newAdmin, err := d.keep("admin", d.admin, ca, nil, func() *x509.Certificate {
		return &x509.Certificate{
			Subject:  pkix.Name{CommonName: "minikubelet-admin", Organization: []string{"system:masters"}},
			KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
			NotAfter: d.now().Add(leafLife),
		}
	})
	if err != nil {
		return false, err
	}
	d.ca, d.server, d.admin = ca, server, admin
	return newCA || newAdmin, nil
}

// Due is when Renew has something to do: the first of the certificates has a third of its
// life left.
func (d *Dir) Due() time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.MinFunc([]time.Time{d.ca.due(), d.server.due(), d.admin.due()}, time.Time.Compare)
}

// due is when a third of the life is left.
func (p *pair) due() time.Time {
	life := leafLife
	if p.cert.IsCA {
		life = caLife
	}
	return p.cert.NotAfter.Add(-life / renewPart)
}

// keep returns the pair that there is, when it is still good, or makes one; made
// tells which. names are those that it has to be good for.
func (d *Dir) keep(name string, have, ca *pair, names []string, template func() *x509.Certificate) (_ *pair, made bool, err error) {
	if have == nil {
		if have, err = d.load(name); err != nil {
			return nil, false, err
		}
	}
	if have != nil && d.good(have, ca, names) {
		return have, false, nil
	}
	p, err := d.issue(template(), ca)
	if err != nil {
		return nil, false, err
	}
	return p, true, d.save(name, p)
}

// good tells whether a pair needs no renewal. A CA is kept where the clock is behind, as
// after the boot of a machine that has none of its own: everybody has to trust a new one.
func (d *Dir) good(p, ca *pair, names []string) bool {
	if d.now().After(p.due()) {
		return false
	}
	if ca != nil && (d.now().Before(p.cert.NotBefore) || p.cert.CheckSignatureFrom(ca.cert) != nil) {
		return false
	}
	return !slices.ContainsFunc(names, func(name string) bool { return p.cert.VerifyHostname(name) != nil })
}

func (d *Dir) issue(c *x509.Certificate, ca *pair) (*pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	if c.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127)); err != nil {
		return nil, err
	}
	if c.NotBefore.IsZero() {
		c.NotBefore = d.now().Add(-clockSkew)
	}
	parent, signer := c, key
	if ca != nil {
		parent, signer = ca.cert, ca.key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, signer)
	if err != nil {
		return nil, err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return parsePair(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}))
}

func parsePair(certPEM, keyPEM []byte) (*pair, error) {
	t, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, err
	}
	key, ok := t.PrivateKey.(*ecdsa.PrivateKey)
	if !ok {
		return nil, errors.New("the key is not an ECDSA key")
	}
	return &pair{cert: t.Leaf, key: key, certPEM: certPEM, keyPEM: keyPEM, tls: &t}, nil
}

// load reads a pair, which is one file so that certificate and key always fit;
// nil when there is none. A damaged one counts as none: a power cut must not keep
// the API away.
func (d *Dir) load(name string) (*pair, error) {
	data, err := os.ReadFile(d.file(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	i := bytes.Index(data, []byte("-----BEGIN PRIVATE KEY"))
	if i < 0 {
		return nil, nil
	}
	p, err := parsePair(data[:i], data[i:])
	if err != nil {
		return nil, nil
	}
	return p, nil
}

func (d *Dir) save(name string, p *pair) error {
	return WriteFile(d.file(name), slices.Concat(p.certPEM, p.keyPEM))
}

func (d *Dir) file(name string) string { return filepath.Join(d.path, name+".pem") }

// ServerConfig is for the API's listener. Clients may show a certificate of the
// CA; renewed certificates are taken up by new connections.
func (d *Dir) ServerConfig() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			d.mu.Lock()
			defer d.mu.Unlock()
			pool := x509.NewCertPool()
			pool.AddCert(d.ca.cert)
			return &tls.Config{
				MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"},
				Certificates: []tls.Certificate{*d.server.tls}, ClientAuth: tls.VerifyClientCertIfGiven, ClientCAs: pool,
			}, nil
		},
		// ServeTLS wants to see that there is a certificate.
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			d.mu.Lock()
			defer d.mu.Unlock()
			return d.server.tls, nil
		},
	}
}

// WriteFile writes a file that its owner alone can read, whole or not at all.
func WriteFile(path string, data []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*") // made with mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
