// SPDX-License-Identifier: Apache-2.0

// Package pki keeps the keys and certificates of the node's API: a CA, the
// server's and the administrator's. It makes them when they are missing, renews
// them before they expire, and imports nothing of ours.
//
// Invariant: a private key is readable by its owner alone, and never leaves the
// directory but in the administrator's kubeconfig.
package pki
