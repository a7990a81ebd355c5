// SPDX-License-Identifier: Apache-2.0

package api

import (
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/kubernetes/pkg/apis/certificates"
	upstream "k8s.io/kubernetes/pkg/apis/certificates/v1beta1"
	"k8s.io/kubernetes/pkg/apis/certificates/validation"
)

// ClusterTrustBundleRules are those of ClusterTrustBundles.
func ClusterTrustBundleRules() Rules {
	return RulesOf(nil, upstream.Convert_v1beta1_ClusterTrustBundle_To_certificates_ClusterTrustBundle,
		func(b *certificates.ClusterTrustBundle) field.ErrorList {
			return validation.ValidateClusterTrustBundle(b, validation.ValidateClusterTrustBundleOptions{})
		}, validation.ValidateClusterTrustBundleUpdate)
}
