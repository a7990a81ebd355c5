// SPDX-License-Identifier: Apache-2.0

// Package socket is the client of an agent's unix socket: of the Kubernetes API
// that is served there, and of the few endpoints below /minikubelet/v1/ that only
// the socket has, for the agent's own commands beside a running one.
//
// It is plain net/http with Kubernetes' types in JSON: a typed client for every
// group would add megabytes to the program. It imports nothing of ours but leaves.
package socket
