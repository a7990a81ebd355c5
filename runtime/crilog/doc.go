// SPDX-License-Identifier: Apache-2.0

// Package crilog writes and reads container logs in the format of the Kubernetes
// Container Runtime Interface, one entry a line:
//
//	2026-01-02T03:04:05.000000006Z stdout F the text of the line
//
// The tag is F for a full line and P for a piece of one that goes on in the next
// entry of the same stream. Log shippers and the kubelet read the same files.
//
// The writer half runs in the shim, one for each Pod, and is written for little
// memory; the reader half runs in the agent. They share nothing but the files:
// <attempt>.log, which is written, and <attempt>.log.<time>, which were. Rotated
// files keep their names until they are deleted, oldest first, and their names
// sort in the order they were written: readers rely on both.
//
// The package imports nothing of ours and, besides the standard library, only
// fsnotify and x/sys.
package crilog
