// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"os"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/tools/clientcmd"
)

// TestCertificatesAreRenewed gives a node certificates that are about to end: it renews
// them while it serves, the CA too, and tells Pods of it.
func TestCertificatesAreRenewed(t *testing.T) {
	kubectlPath(t)
	n := startNode(t)
	n.terminate()
	due := time.Now().Add(25 * time.Second)
	life := map[string]time.Duration{"ca": 10 * 365 * 24 * time.Hour, "server": 365 * 24 * time.Hour, "admin": 365 * 24 * time.Hour}
	var ca tls.Certificate
	ends := due.Add(life["admin"] / 3)
	for _, name := range []string{"ca", "server", "admin"} {
		file := n.path("data/pki", name+".pem")
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		pair, err := tls.X509KeyPair(data, data)
		if err != nil {
			t.Fatal(err)
		}
		short := *pair.Leaf
		short.NotAfter = due.Add(life[name] / 3) // a third is left when they are renewed
		if name == "ca" {
			ca = pair
			ca.Leaf = &short
		}
		der, err := x509.CreateCertificate(rand.Reader, &short, ca.Leaf, pair.Leaf.PublicKey, ca.PrivateKey)
		if err != nil {
			t.Fatal(err)
		}
		key := data[strings.Index(string(data), "-----BEGIN PRIVATE KEY"):]
		if err := os.WriteFile(file, append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), key...), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	n.start()
	before, err := os.ReadFile(n.path("data/kubeconfig"))
	if err != nil {
		t.Fatal(err)
	}
	if !n.adminEnds(before).Equal(ends.Truncate(time.Second).UTC()) {
		t.Fatalf("the administrator's certificate ends at %v", n.adminEnds(before))
	}
	n.expect(`n1 Ready`, "get", "nodes")
	n.eventually("the kubeconfig is new", func() bool {
		now, err := os.ReadFile(n.path("data/kubeconfig"))
		return err == nil && n.adminEnds(now).After(ends.Add(24*time.Hour))
	})
	n.expect(`n1 Ready`, "get", "nodes")
	config, err := clientcmd.BuildConfigFromFlags("", n.path("data/kubeconfig"))
	if err != nil {
		t.Fatal(err)
	}
	n.eventually("Pods are told of the new CA", func() bool {
		out, err := n.tryKubectl("", "get", "cm", "kube-root-ca.crt", "-o", `jsonpath={.data.ca\.crt}`)
		return err == nil && strings.TrimSpace(out) == strings.TrimSpace(string(config.CAData))
	})
	old := n.path("old-kubeconfig")
	if err := os.WriteFile(old, before, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := n.tryKubectl("", "--kubeconfig", old, "--insecure-skip-tls-verify", "--certificate-authority=", "get", "nodes"); err == nil {
		t.Errorf("a certificate of the old CA is let in: %s", out)
	}
}

// adminEnds is when the client's certificate of a kubeconfig ends.
func (n *node) adminEnds(kubeconfig []byte) time.Time {
	n.t.Helper()
	config, err := clientcmd.RESTConfigFromKubeConfig(kubeconfig)
	if err != nil {
		n.t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(config.CertData, config.KeyData)
	if err != nil {
		n.t.Fatal(err)
	}
	return pair.Leaf.NotAfter
}
