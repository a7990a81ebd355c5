// SPDX-License-Identifier: Apache-2.0

// Package engine gives the rest of the runtime a containerd to talk to: one
// embedded in this process (Embedded) or an existing daemon (Connect). Both
// come as an *Engine, whose client is used in the same way.
//
// It also owns what an engine needs before it can start: the lock of the data
// directory (Lock) and the executables runc and the shim (Binaries), which are
// packed into the program by `make build`.
//
// It imports containerd and nothing of this module. Invariants: an engine that
// stops leaves every shim and container running, and an engine that starts on
// the same directories finds them again, with the exit codes of those that
// ended in between.
package engine
