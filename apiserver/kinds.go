// SPDX-License-Identifier: Apache-2.0

package apiserver

// allKinds are the kinds that the API has. A new one is a declaration in a file of
// its own and a name here.
func (s *Server) allKinds() []*kind {
	return []*kind{
		clusterRoleBindingKind(), clusterRoleKind(), clusterTrustBundleKind(), configMapKind(), endpointSliceKind(), endpointsKind(), eventKind(), leaseKind(), newEventKind(),
		limitRangeKind(), namespaceKind(s), nodeKind(), persistentVolumeClaimKind(), persistentVolumeKind(), podKind(s),
		podTemplateKind(), priorityClassKind(s), resourceQuotaKind(), roleBindingKind(), roleKind(), runtimeClassKind(), secretKind(),
		serviceAccountKind(), serviceKind(), storageClassKind(),
	}
}
