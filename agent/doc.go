// SPDX-License-Identifier: Apache-2.0

// Package agent puts the rooms together into a running node: configuration,
// directories and their lock, the engine, the Pod manager, and the sources of
// Pods (the manifest directory, and run in the foreground).
//
// It may import every other package of ours except apiserver's clients and cmd.
// Invariant: whatever Open made, Close ends; running Pods are left alone.
package agent
