// SPDX-License-Identifier: Apache-2.0

// Package quota counts what objects use of ResourceQuotas, and tells whether one
// more fits: Kubernetes' rules (k8s.io/kubernetes/pkg/quota/v1 and the admission
// plugin ResourceQuota of k8s.io/apiserver), with no I/O and no clock of its own.
package quota
