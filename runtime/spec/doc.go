// SPDX-License-Identifier: Apache-2.0

// Package spec turns the plain values of one container into the OCI runtime
// specification that the runtime runs.
//
// Build and Pause are pure: the same Options give the same specification, and
// everything that the machine has a say in arrives as a Node value. Only
// DetectNode, HostDevices and ReadUserFiles look at anything.
//
// The package may import the Kubernetes core types, the OCI types and
// containerd's libraries, and nothing of ours.
//
// Invariant: a zero Security never yields more than what an ordinary,
// unprivileged Kubernetes container gets (default capabilities, the
// RuntimeDefault seccomp profile, masked paths, no devices of the host);
// whatever gives more is asked for by a field.
package spec
