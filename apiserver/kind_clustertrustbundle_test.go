// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"strings"
	"testing"

	certificatesv1beta1 "k8s.io/api/certificates/v1beta1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/minikubelet/minikubelet/apiserver/pki"
)

// someCA is a certificate that vouches for others, a new one at each call.
func someCA(t *testing.T) string {
	t.Helper()
	d, err := pki.Open(t.TempDir(), func() []string { return nil })
	if err != nil {
		t.Fatal(err)
	}
	return string(d.CA())
}

func trustBundle(name, signer, text string) *certificatesv1beta1.ClusterTrustBundle {
	return &certificatesv1beta1.ClusterTrustBundle{ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: certificatesv1beta1.ClusterTrustBundleSpec{SignerName: signer, TrustBundle: text}}
}

func TestTrustBundlesAreChecked(t *testing.T) {
	c := newBench(t).client("").CertificatesV1beta1().ClusterTrustBundles()
	for want, b := range map[string]*certificatesv1beta1.ClusterTrustBundle{
		"spec.trustBundle: Invalid value: \"<value omitted>\": at least one trust anchor must be provided": trustBundle("a", "", "no PEM"),
		"ClusterTrustBundle for signerName example.com/mine must be named with prefix example.com:mine:":   trustBundle("a", "example.com/mine", someCA(t)),
	} {
		if _, err := c.Create(t.Context(), b, metav1.CreateOptions{}); !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	b, err := c.Create(t.Context(), trustBundle("example.com:mine:a", "example.com/mine", someCA(t)), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	list, err := c.List(t.Context(), metav1.ListOptions{FieldSelector: "spec.signerName=example.com/mine"})
	if err != nil || len(list.Items) != 1 {
		t.Errorf("by signer: %v, %v", list, err)
	}
	b.Spec.SignerName = "example.com/other"
	if _, err := c.Update(t.Context(), b, metav1.UpdateOptions{}); err == nil || !strings.Contains(err.Error(), "field is immutable") {
		t.Errorf("another signer: %v", err)
	}
}

// TestOnlyAttestersSpeakForSigners: to write bundles is not enough for those of a
// signer, but who changes nothing of them needs no more.
func TestOnlyAttestersSpeakForSigners(t *testing.T) {
	b := newBench(t)
	attest := func(name string) rbacv1.PolicyRule {
		return rbacv1.PolicyRule{Verbs: []string{"attest"}, APIGroups: []string{certificatesv1beta1.GroupName}, Resources: []string{"signers"}, ResourceNames: []string{name}}
	}
	write := rbacv1.PolicyRule{Verbs: []string{"create", "update"}, APIGroups: []string{certificatesv1beta1.GroupName}, Resources: []string{"clustertrustbundles"}}
	ann := clientOf(t, b.network(), "token-ann", "").CertificatesV1beta1().ClusterTrustBundles()
	b.grant("ann", "", write, attest("one.example/a"), attest("two.example/*"))
	for bundle, allowed := range map[string]bool{"x": true, "one.example:a:x": true, "one.example:b:x": false, "two.example:b:x": true, "three.example:a:x": false} {
		parts, signer := strings.Split(bundle, ":"), ""
		if len(parts) == 3 {
			signer = parts[0] + "/" + parts[1]
		}
		_, err := ann.Create(t.Context(), trustBundle(bundle, signer, someCA(t)), metav1.CreateOptions{})
		switch {
		case allowed && err != nil:
			t.Errorf("%s: %v", bundle, err)
		case !allowed && (!apierrors.IsForbidden(err) || !strings.Contains(err.Error(), `user not permitted to attest for signerName "`+signer+`"`)):
			t.Errorf("%s: %v", bundle, err)
		}
	}
	there, err := b.client("").CertificatesV1beta1().ClusterTrustBundles().Create(t.Context(), trustBundle("one.example:b:x", "one.example/b", someCA(t)), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	there.Finalizers = []string{"example.com/hold"}
	if there, err = ann.Update(t.Context(), there, metav1.UpdateOptions{}); err != nil {
		t.Errorf("a finalizer: %v", err)
	}
	there.Spec.TrustBundle = someCA(t)
	if _, err := ann.Update(t.Context(), there, metav1.UpdateOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("another certificate: %v", err)
	}
}
