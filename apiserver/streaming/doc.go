// SPDX-License-Identifier: Apache-2.0

// Package streaming speaks the protocols in which Kubernetes' clients carry
// streams over one HTTP connection: remote commands (exec, attach) over SPDY v1 to
// v4 and over WebSocket up to v5, which can close standard input, and port
// forwarding over SPDY, plain or inside a WebSocket.
//
// It knows neither Pods nor containers and imports nothing of this module. What it
// promises: a client that is gone ends its session's input at once; output for it is
// dropped and never fails; and a session ends with a status that a client which
// still reads receives whole.
package streaming
