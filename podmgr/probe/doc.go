// SPDX-License-Identifier: Apache-2.0

// Package probe asks a container once how it is: by a command, over HTTP, TCP or
// gRPC, with the kubelet's rules and words. When to ask, and what follows from the
// answers, is decided elsewhere.
//
// It imports nothing of this module. It keeps no state but an HTTP transport
// without idle connections and buffers, so that a probe leaves nothing behind.
package probe
