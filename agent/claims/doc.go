// SPDX-License-Identifier: Apache-2.0

// Package claims gives PersistentVolumeClaims their volumes: those that somebody has
// made, and directories of this node for the class local-path. It makes the claims of
// ephemeral volumes, keeps what Pods use from going away, and removes what nobody
// claims any more, with the words of Kubernetes' controllers.
//
// It reads Pods, claims, volumes, classes and nodes from the store and writes claims
// and volumes; nothing is kept in memory but what was last told of an object. What to do
// is decided in binding.go, without I/O.
//
// Invariant: a directory is removed only when its PersistentVolume says that this node
// has made it, that its data are to be deleted, and that its claim is gone.
package claims
