// SPDX-License-Identifier: Apache-2.0

// Package pressure decides what the node as a whole has to do to its Pods: whom to
// end in which order when it shuts down, whom to pre-empt for a critical Pod, when
// it is short of memory, disk or process IDs, and whom to evict then, and which ended
// Pods are too many. The life of the single Pod is not its business; that is package plan.
//
// It is pure: no I/O, no clock, no goroutine. It may import the Kubernetes API types
// and, of ours, package plan. The rules are those of the kubelet of Kubernetes 1.36
// (pkg/kubelet/{eviction,nodeshutdown,preemption}) and, for ended Pods, those of
// pkg/controller/podgc, with one exception: a static Pod
// is critical only by its priority. In the kubelet all static Pods are, but there
// they are the control plane's; here they are what the node is for, and a node
// whose Pods all come from manifests could end none of them.
package pressure
