// SPDX-License-Identifier: Apache-2.0

// Package shim is what minikubelet's shim has beyond containerd's own runc shim,
// which does all the rest of the work:
//
//   - it writes the containers' logs itself (crilog), so that no other process,
//     the agent least of all, is needed for a container to go on writing;
//   - its delete command does not ask runc to delete what is already gone;
//   - it is tuned for little memory and no work when idle, since there is one
//     for each Pod.
//
// The package imports crilog and containerd. It keeps this invariant: when the
// deletion of a task returns, all that its process had written is in its log.
package shim
