// SPDX-License-Identifier: Apache-2.0

package integration

// externalAddress is the socket of the node's own containerd daemon.
func (n *node) externalAddress() string { return n.path("run/ctd.sock") }
