// SPDX-License-Identifier: Apache-2.0

// Package image is the store of container images: it imports archives, pulls from registries, lists, removes, and makes the
// pause image, all on a containerd client, embedded or remote.
//
// It imports containerd, the OCI types and a compression library, and nothing else of this project.
//
// Invariant: an image that Get reports is whole. Its manifest and configuration are in the content store with the right
// digests, and all its layers are unpacked into a committed snapshot. A crash or a power cut at any moment of a pull or an
// import leaves either such an image or none. To that end layers are on disk (syncfs) before their snapshot is committed, the
// image's record is written last, and Get looks instead of trusting the record.
package image
