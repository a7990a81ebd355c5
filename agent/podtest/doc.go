// SPDX-License-Identifier: Apache-2.0

// Package podtest makes real Pods inside a Go program: for tests of containerd, of
// OCI runtimes, and of whatever is to run in a Pod, and for benchmarks.
//
//	node := podtest.New(t, podtest.Options{Images: []string{"app.tar"}})
//	pod := node.Apply(manifest)[0]
//	node.Await(pod, podtest.Succeeded)
//	if got := node.Log(pod, "app"); got != "done\n" {
//		t.Errorf("the app wrote %q", got)
//	}
//
// A Node is a whole agent in this process, with directories, a network and cgroups of
// its own below a temporary directory; several may be open at once. Programs that are
// no tests use Open, whose Node gives errors instead of ending a test.
//
// It needs root, and the executables runc and containerd-shim-minikubelet-v1, which
// `make build` makes, on PATH.
//
// It may import agent and what agent may, and is imported by tests and benchmarks only.
// Invariant: once a node is closed, nothing of it is left on the machine.
package podtest
