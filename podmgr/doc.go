// SPDX-License-Identifier: Apache-2.0

// Package podmgr turns Pods in the store into containers on the machine.
//
// One worker for each Pod observes, asks podmgr/plan what to do, acts, and
// reports. Workers sleep until the store, the runtime, a timer or one of their
// own actions wakes them. All lifecycle rules are in podmgr/plan; here acting is
// dumb: idempotent steps that compose the leaves runtime, cgroups, volumes and
// network, which do not know each other.
//
// Invariant: the store says what should be, the runtime and the kernel say what
// is, and there is no third record. A manager that was killed at any moment is
// replaced by a new one that looks and goes on.
package podmgr
