// SPDX-License-Identifier: Apache-2.0

// Package plan decides what to do for a Pod. Decide maps what should be (the
// Pod), what was reported last (its status) and what was seen (sandboxes,
// containers, images, failures) to actions, a status, events and the time to
// look again. All rules of a Pod's life are here and nowhere else.
//
// It is pure: no I/O, no clock, no goroutine, no log, no memory between two
// calls, and the same input gives the same decision. So an agent that was killed
// looks, decides and goes on. It may import the Kubernetes API types and nothing
// of ours.
//
// The rules are those of the kubelet of Kubernetes 1.36 (computePodActions,
// getPhase, convertToAPIContainerStatuses, the status manager), with four
// decisions of our own:
//   - Containers are made ahead of their turn where nobody can tell (ahead.go).
//   - A changed image of an init container starts the whole Pod over.
//   - A Pod under restartPolicy Never whose sandbox dies before an app started
//     and without any container's failure starts over; the kubelet lets it hang.
//   - A container that asks for RestartAllContainers waits for its back-off like any
//     other, and keeps its own end in the status; the kubelet starts it at once, for
//     ever, and forgets how it ended.
//
// Invariants, asserted by the property tests: no app container starts before
// every init container succeeded in this sandbox; init containers run one at a
// time, in order; no container has two instances at a time; restart counts never
// fall; a terminal phase never changes; transition times change only with the
// status; nothing is removed whose end was not reported; a deleted Pod comes to
// its end.
//
// How it is cut: view.go arranges the input, decide.go chooses which of the ways
// below is to be gone, and draft.go collects the actions.
//
//	start.go    bringing the Pod up: whose turn it is
//	sandbox.go  sandboxes: made, lost, started over
//	ahead.go    what may be made before its turn
//	ephemeral.go  containers for debugging
//	round.go    all containers restarted together
//	resize.go   cpu and memory changed while it runs
//	restart.go  whether a container comes back, and when
//	images.go   pulls and their back-off
//	ended.go    the node ends the Pod: shutdown, eviction, preemption
//	end.go      stopping everything: deletion, terminal phase, deadline
//	tidy.go     remains of earlier attempts, and of a Pod that is over
//	status.go, containers.go, phase.go, conditions.go   what is reported
//	told.go     the form of a status: order and size
//	summary.go  the STATUS column
package plan
