// SPDX-License-Identifier: Apache-2.0

// Package imagetest makes container images for tests and for the demonstration, where no registry is in reach: a root file
// system around the machine's own static busybox, as an OCI or docker archive, or pushed to a registry on loopback.
//
// It imports the OCI types and a compression library only, and is no part of the agent.
//
// Invariant: the same busybox and options give the same bytes, so that images made twice are one image.
package imagetest
