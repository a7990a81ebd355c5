// SPDX-License-Identifier: Apache-2.0

// Package cgroups sizes Pods and keeps their control groups.
//
// It has a pure part (EffectiveOf, QOSClass, PodResources, ContainerResources,
// OOMScoreAdj, Files: from a Pod to the values that the kernel is given) and a
// thin part that writes (Tree: the directories below one root, under cgroup v1,
// hybrid and v2).
//
// The layout is the kubelet's, under a root of our own:
//
//	<root>/pod<uid>/<container>             Guaranteed
//	<root>/burstable/pod<uid>/<container>   Burstable
//	<root>/besteffort/pod<uid>/<container>  BestEffort
//
// Tree makes the directories down to pod<uid>; the OCI runtime makes those of the
// containers, at the path that ContainerPath names.
//
// The package is a leaf: it imports nothing of this module. Its invariants: it
// never moves a process, it touches nothing outside its root except the
// cgroup.subtree_control files of the v2 directories above it, and what it made
// is found again by looking, never from memory.
package cgroups
