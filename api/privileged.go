// SPDX-License-Identifier: Apache-2.0

package api

import "k8s.io/kubernetes/pkg/capabilities"

// allowPrivileged makes upstream's validation take privileged containers, which it
// refuses unless it was told otherwise before it first looked: kube-apiserver has the
// flag --allow-privileged for that, which every cluster sets. Where such Pods may run is
// for the Pod Security levels of namespaces to say. The setting is the process', and only
// the first call has an effect.
func allowPrivileged() { capabilities.Setup(true, 0) }
