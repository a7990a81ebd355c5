// SPDX-License-Identifier: Apache-2.0

// Package store keeps API objects at rest: one bbolt file, optimistic
// concurrency by resourceVersion, and a watch that misses nothing.
//
// It knows objects, not HTTP and not containers, and imports nothing of ours.
// Invariants: a write is on disk before it is answered; resourceVersions come
// from one counter that never goes back, over restarts too; objects handed out
// are the caller's own copies.
package store
