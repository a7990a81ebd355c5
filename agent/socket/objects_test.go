// SPDX-License-Identifier: Apache-2.0

package socket

import "testing"

func TestPaths(t *testing.T) {
	for want, got := range map[string]string{
		"/api/v1/namespaces/a%2Fb/pods/p":                           path("pods", "a/b", "p"),
		"/api/v1/namespaces":                                        path("namespaces", "", ""),
		"/apis/storage.k8s.io/v1/storageclasses/c":                  path("storageclasses.storage.k8s.io", "", "c"),
		"/apis/certificates.k8s.io/v1beta1/clustertrustbundles/b:c": path("clustertrustbundles.v1beta1.certificates.k8s.io", "", "b:c"),
	} {
		if got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}
