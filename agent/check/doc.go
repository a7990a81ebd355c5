// SPDX-License-Identifier: Apache-2.0

// Package check looks at what a machine offers and lacks for running Pods.
//
// Each question is a small function that takes the paths it reads and gives
// results with the consequence and the remedy of a lack; Machine asks them all.
// Besides the leaves cgroups, network, runtime/engine and runtime/spec it imports
// nothing of ours.
//
// Invariant: looking changes nothing. What has to be tried (mounts, interfaces,
// rules) is tried in namespaces that end with the thread that made them, and the
// one directory that is needed on disk is removed again.
package check
