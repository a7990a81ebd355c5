// SPDX-License-Identifier: Apache-2.0

// Package volumes makes the directories and mounts that a Pod's volumes are,
// and removes them again. There is one file for each type of volume; every
// type keeps the contract of volumeType and passes the same behaviour tests.
//
// Whatever the package makes lies below Pod.Dir, in the kubelet's layout:
//
//	volumes/kubernetes.io~empty-dir/<volume>, …~configmap/…, …~secret/…
//	volume-subpaths/<volume>/<container>/<index of the volume mount>
//
// so that a later agent finds it by looking, and nothing is shared between
// Pods by name.
//
// The package is a leaf: it may import the Kubernetes core types, the OCI
// types and libraries for mounts, and nothing of ours.
//
// Invariant: what a container can write to is never trusted. Paths inside a
// volume are resolved by the kernel below the volume's root, and removing
// neither follows a symbolic link nor enters another mount.
package volumes
