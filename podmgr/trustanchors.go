// SPDX-License-Identifier: Apache-2.0

package podmgr

import (
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"slices"

	certificatesv1beta1 "k8s.io/api/certificates/v1beta1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/minikubelet/minikubelet/volumes"
)

// trustAnchors is the file of a clusterTrustBundle source. It is empty when the source
// is optional and no bundle is there.
func (p *projector) trustAnchors(s *corev1.ClusterTrustBundleProjection, mode uint32) (volumes.Files, error) {
	var bundles []*certificatesv1beta1.ClusterTrustBundle
	var err error
	switch {
	case s.Name != nil:
		var one *certificatesv1beta1.ClusterTrustBundle
		if one, err = p.objects.trustBundle(*s.Name); err != nil {
			err = fmt.Errorf("while getting ClusterTrustBundle: %w", err)
		} else {
			bundles = append(bundles, one)
		}
	case s.SignerName != nil:
		bundles, err = p.bundlesOf(*s.SignerName, s.LabelSelector)
	default:
		err = errors.New("ClusterTrustBundle projection requires either name or signerName to be set")
	}
	if err != nil && (!isMissing(err) || !isOptional(s.Optional)) {
		return nil, err
	}
	return volumes.Files{s.Path: p.credential(anchors(bundles), mode)}, nil
}

// bundlesOf are those of a signer that a selector finds: without one none, with an
// empty one all.
func (p *projector) bundlesOf(signer string, selector *metav1.LabelSelector) ([]*certificatesv1beta1.ClusterTrustBundle, error) {
	selects, err := metav1.LabelSelectorAsSelector(selector)
	if err != nil {
		return nil, fmt.Errorf("while parsing label selector: %w", err)
	}
	bundles, err := p.objects.trustBundles()
	if err != nil {
		return nil, err
	}
	bundles = slices.DeleteFunc(bundles, func(b *certificatesv1beta1.ClusterTrustBundle) bool {
		return b.Spec.SignerName != signer || !selects.Matches(labels.Set(b.Labels))
	})
	if len(bundles) == 0 {
		return nil, &missingError{errors.New("combination of signerName and labelSelector matched zero ClusterTrustBundles")}
	}
	return bundles, nil
}

// anchors joins the certificates of bundles: each once, with no headers and no text
// around it. The order means nothing (the kubelet's is random), but is always the same
// for the same certificates, so that a file changes with what is in it only.
func anchors(bundles []*certificatesv1beta1.ClusterTrustBundle) []byte {
	found := make(map[string]bool)
	for _, b := range bundles {
		for block, rest := pem.Decode([]byte(b.Spec.TrustBundle)); block != nil; block, rest = pem.Decode(rest) {
			found[string(block.Bytes)] = true
		}
	}
	var out []byte
	for _, der := range slices.Sorted(maps.Keys(found)) {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte(der)})...)
	}
	return out
}
