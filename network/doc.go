// SPDX-License-Identifier: Apache-2.0

// Package network connects Pods: one bridge for each agent instance, one veth
// pair and one IPv4 address for each Pod, masquerading and hostPorts by
// nftables, and the contents of a Pod's /etc/hosts and /etc/resolv.conf. It also
// finds and follows the host's own address.
//
// It is a leaf: it imports nothing of this module. Network namespaces are made
// and pinned by others; this package receives their paths.
//
// Invariant: there is no record beside the kernel's. A Pod's host-side veth is
// named after instance and Pod UID and is created as a port of the bridge in
// one step; its ifalias carries UID, address and name; an nftables map element
// carries the UID in its comment. Whatever is in use is found again by looking,
// so a killed agent loses no allocation and leaks none: an address is in use
// exactly as long as its veth exists. What is held in memory mirrors the kernel
// and is read anew by Open, Attached and Sweep.
//
// Two instances with different names have different bridges, subnets, tables
// and veth names, and never touch each other's.
package network
