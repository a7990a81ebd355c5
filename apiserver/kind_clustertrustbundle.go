// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"fmt"
	"net/http"
	"strings"

	certificatesv1beta1 "k8s.io/api/certificates/v1beta1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"

	"github.com/minikubelet/minikubelet/api"
	"github.com/minikubelet/minikubelet/apiserver/rbac"
	"github.com/minikubelet/minikubelet/store"
)

// clusterTrustBundleKind is served in the newest version that Kubernetes has.
func clusterTrustBundleKind() *kind {
	return declare[certificatesv1beta1.ClusterTrustBundle, certificatesv1beta1.ClusterTrustBundleList](&kind{
		group: certificatesv1beta1.GroupName, version: "v1beta1", name: "clustertrustbundles", singular: "clustertrustbundle", kind: "ClusterTrustBundle",
		verbs: allVerbs, versioned: true, types: certificatesv1beta1.AddToScheme, admit: (*Server).admitTrustBundle,
		strategy: byRules(api.ClusterTrustBundleRules(), nil),
		columns: []metav1.TableColumnDefinition{
			column("Name", "string", 0, "Name of the ClusterTrustBundle."),
			column("SignerName", "string", 0, "The signer whose certificates it vouches for."),
		},
		cells: func(o store.Object) []any {
			b := o.(*certificatesv1beta1.ClusterTrustBundle)
			signer := b.Spec.SignerName
			if signer == "" {
				signer = "<none>"
			}
			return []any{b.Name, signer}
		},
		fields: func(o store.Object) fields.Set {
			return fields.Set{"spec.signerName": o.(*certificatesv1beta1.ClusterTrustBundle).Spec.SignerName}
		},
	})
}

// admitTrustBundle lets only those speak for a signer who may attest for it: for that
// one, or with a name that ends in /* for all of a domain.
func (s *Server) admitTrustBundle(r *http.Request, o, old store.Object) ([]string, error) {
	signer := o.(*certificatesv1beta1.ClusterTrustBundle).Spec.SignerName
	if signer == "" || old != nil && sameRights(o, old) {
		return nil, nil
	}
	domain, _, _ := strings.Cut(signer, "/")
	for _, name := range []string{signer, domain + "/*"} {
		want := rbac.Request{Verb: "attest", Group: certificatesv1beta1.GroupName, Resource: "signers", Name: name}
		if ok, _ := s.allowed(caller(r), want); ok {
			return nil, nil
		}
	}
	return nil, apierrors.NewForbidden(certificatesv1beta1.Resource("clustertrustbundles"), o.GetName(),
		fmt.Errorf("user not permitted to attest for signerName %q", signer))
}
