// SPDX-License-Identifier: Apache-2.0

// Package runtime makes, starts, watches and removes the containers of Pods, through a containerd client.
//
// It takes plain values and gives back plain values: it knows no Pod spec, no restart policy and no probe, imports nothing of ours,
// and its sub-packages (engine, image, crilog, spec) do not import it.
//
// Invariant: what is, is in containerd and in the kernel, and nowhere else. Every container record carries labels that say whose it
// is and, once it ended, how; a sandbox record of the same ID makes containerd keep the task of a container that ended while no agent
// looked. The in-memory cache is only a copy: Open builds it by looking, events and the runtime's own calls keep it current, and a
// crash at any instruction loses nothing but time.
//
// One Pod is one shim: the pause container's task is the shim's first, and its ID is the sandbox ID that the others join.
package runtime
