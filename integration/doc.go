// SPDX-License-Identifier: Apache-2.0

// Package integration has the tests that run real containers: they start the
// built program (bin/minikubelet, see make build) as its users do and look at
// what the kernel, the log files and the API's socket say.
//
// Every node of a test has directories, names and a cgroup of its own, and is
// checked to have left nothing behind at the end.
package integration
