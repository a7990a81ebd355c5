// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Input is everything a decision may depend on. Decide never changes it; the
// status that it returns may share parts of Last.
type Input struct {
	// Pod is the desired state: defaulted and validated, with the resources that are
	// allocated to it. Its status is ignored;
	// Last is used instead. A set DeletionTimestamp asks for the Pod's end: the
	// time at which its grace period is over, as in the Kubernetes API.
	Pod *corev1.Pod
	// Last is the status that was reported last, zero for a new Pod. Transition
	// times, terminal phases and the records of containers that are no longer
	// there are taken from it.
	Last corev1.PodStatus
	// Refused is set when admission turned the Pod down (OutOfcpu, …); such a Pod
	// is Failed and never gets a sandbox.
	Refused *Refusal
	// Ended is set when the node ends the Pod, and stays set. It has no effect on a
	// Pod whose terminal phase was reported.
	Ended *End
	// Reclaim is set when the node needs the room that the Pod's records take: with it, a
	// Pod that is over keeps none of them.
	Reclaim bool
	// Seen is what the runtime says.
	Seen Seen
	// Now is the time of the decision.
	Now time.Time
	// Node has the few facts of the node that a status shows.
	Node Node
	// QOSClass is shown in the status. The caller knows how to find it.
	QOSClass corev1.PodQOSClass
	// Pending is a change of the Pod's resources that is not allocated; nil if none.
	Pending *PendingResize
	// AllocatedGeneration is the generation of the Pod whose resources were allocated
	// last, 0 if not known.
	AllocatedGeneration int64
	// Size stands for the values that the Pod's own cgroup is to have, in the caller's
	// own words; empty: it is not looked at. See Sandbox.Size.
	Size string
	// Effective are the requests and limits of the Pod as a whole; nil: not reported.
	Effective *corev1.ResourceRequirements
	// Hashes has the hash of each container's desired spec, by its name: what a
	// container made now gets as its SpecHash. A container whose name is not in it
	// counts as unchanged.
	Hashes map[string]string
}

// Node has what a Pod's status says of its node.
type Node struct {
	HostIPs []string
	// RecursiveReadOnly: mounts can be made read-only with all that is below them.
	RecursiveReadOnly bool
}

// Refusal is the reason and message of a Pod that admission turned down.
type Refusal struct {
	Reason, Message string
}

// Seen is what is there at one moment, found by looking.
type Seen struct {
	// Sandboxes in the order of their attempts; at most the last is in use.
	Sandboxes []Sandbox
	// Containers of the Pod, in any order, records of ended ones included.
	Containers []Container
	// Volumes of the Pod are set up, or may be.
	Volumes bool
	// Images by the image reference as it stands in the Pod's spec.
	Images map[string]Image
	// Failures of the last attempt to do something, by the key of the action
	// (Action.Key); removed when an action of the same kind succeeds. Pulls do
	// not report here but in Images.
	Failures map[string]Failure
	// Busy has the keys of the actions under way (Action.Key). Decide names no
	// action with such a key, except StopContainer and PreStop: their deadline may be
	// an earlier one by now, and of several deadlines the earliest holds.
	Busy map[string]bool
}

// State of a sandbox or a container.
type State string

const (
	// Created: made and waiting for its start.
	Created State = "Created"
	// Running: started and not ended.
	Running State = "Running"
	// Exited: ended, with a record of its end.
	Exited State = "Exited"
	// Unknown: half made or lost its process without a record (a crash, a reboot).
	// A container in this state that was started once counts as ended with exit
	// code 255; one that never was is removed and made again. It was started if
	// StartedAt is set or the last status says so.
	Unknown State = "Unknown"
)

// Sandbox is one attempt at the Pod's sandbox: the pause container together
// with the Pod's cgroup, volumes and network.
type Sandbox struct {
	ID      string
	Attempt int
	// State Created: it is being made, and what containers join (namespaces,
	// cgroup, volumes) is there already; Running: ready, containers may start. One
	// that is Created while its making is not under way (Seen.Busy) is made
	// further by CreateSandbox with the same attempt; report it as Unknown if that
	// is not possible.
	State     State
	CreatedAt time.Time
	IPs       []string
	// Size stands for the values that the Pod's cgroup was given last.
	Size string
}

// Container is one attempt at one container.
type Container struct {
	ID        string
	Name      string
	Attempt   int    // the restart count: 0 for the first
	SandboxID string // the sandbox that it belongs to
	// SandboxAttempt is that sandbox's attempt. It is how the attempts of sandboxes
	// that are no longer there are known, so that none is used twice.
	SandboxAttempt int
	// Round counts how often all containers were restarted together before this
	// attempt was made (Action.Round).
	Round int
	// State: a start that failed must leave the container Exited with exit code
	// 128, StartedAt zero and the error in Message. One that stays Created is
	// started again after the failure's back-off.
	State State
	// SpecHash identifies the container's spec that this attempt was made from.
	SpecHash string
	// BackOff is the restart delay that was in force when this attempt was made:
	// 0 for the first, then 10 s doubling to 5 min.
	BackOff time.Duration

	CreatedAt, StartedAt, FinishedAt time.Time

	ExitCode  int32
	Signal    int32
	OOMKilled bool
	// Message is the termination message, or why it could not be started.
	Message string
	// Image is the full name of the image that it was made from; empty if not known.
	Image   string
	ImageID string
	// User is who its first process was started as, StopSignal what asks it to end; nil
	// and empty if not known.
	User       *corev1.ContainerUser
	StopSignal corev1.Signal
	// Probes of the running container; the zero value says nothing is known yet.
	Probes Probes
	// Resources are the requests and limits of cpu and memory that the container's
	// cgroup was given last (Given); nil if not known.
	Resources *corev1.ResourceRequirements
	// Replaced says that it was stopped in order to be started anew (Action.Replace).
	Replaced bool
	// PostStart and PreStop are what this agent knows of the lifecycle hooks.
	PostStart, PreStop Hook
}

// Hook is what became of a lifecycle hook.
type Hook struct {
	// Result is empty as long as the hook is not over.
	Result ProbeResult
	// Message says why it failed (postStart).
	Message string
	// EndedAt is when that was, and Deadline that of the action (preStop).
	EndedAt, Deadline time.Time
}

// Probes has the outcome of a container's probes. A probe that the spec does not
// have is not looked at.
type Probes struct {
	// Startup and Liveness: Failed only when the threshold was reached.
	Startup, Readiness, Liveness ProbeResult
}

// ProbeResult is what a probe came to.
type ProbeResult string

const (
	// ProbeSucceeded and ProbeFailed count consecutive results by the probe's
	// thresholds; empty: not known yet.
	ProbeSucceeded ProbeResult = "Success"
	ProbeFailed    ProbeResult = "Failure"
)

// Image is what is known of one image reference.
type Image struct {
	// Present in the store, from whatever source.
	Present bool
	// Pulling: a pull is under way, for this Pod or for another.
	Pulling bool
	// PulledAt is when a pull of it last succeeded, zero if not known. For the
	// pull policy Always, presence is not enough: it must have been pulled since
	// the container's last attempt ended, or since the Pod's start.
	PulledAt time.Time
	// Err is why the last pull failed: ErrImagePull, ErrImageNeverPull,
	// InvalidImageName, …; empty after success.
	Reason, Message string
	// Failures in a row, and when the last one was.
	Failures int
	FailedAt time.Time
}

// Failure is why the last attempt at an action failed.
type Failure struct {
	// Kind of the action that failed; empty: any. The next action of this kind on
	// the key waits for the back-off, others don't.
	Kind            Kind
	Reason, Message string // Kubernetes' waiting reason: CreateContainerError, …
	At              time.Time
	Count           int // in a row, at least 1
	// Waits: to try again is of no use until the caller takes the failure back, for
	// an object is missing and the caller hears when it comes.
	Waits bool
}

// Kind of an action.
type Kind string

const (
	// CreateSandbox: make and start the sandbox of the given attempt, cgroup,
	// volumes and network included, or finish one that is half made. Never two at
	// a time.
	CreateSandbox Kind = "create sandbox"
	// RemoveSandbox: end and remove a sandbox with what is the sandbox's own, its
	// network and namespaces. No container runs in it any more; the records of
	// those that did stay, and so do the volumes.
	RemoveSandbox Kind = "remove sandbox"
	// PullImage: make the image available by its pull policy.
	PullImage Kind = "pull image"
	// CreateContainer: make a container, not yet started.
	CreateContainer Kind = "create container"
	// StartContainer: start a created container.
	StartContainer Kind = "start container"
	// PostStart: run the postStart hook of a container that has just been started. A
	// stop puts an end to it. Its outcome is reported in Container.PostStart.
	PostStart Kind = "run postStart hook"
	// PreStop: run the preStop hook of a container that is to be stopped, until
	// Action.Deadline at most. Its outcome is reported in Container.PreStop.
	PreStop Kind = "run preStop hook"
	// StopContainer: the stop signal, then SIGKILL at Action.Deadline.
	StopContainer Kind = "stop container"
	// Resize: bring the cgroups of the Pod and of its running containers to what is
	// allocated, but for those containers that have to be restarted for it.
	Resize Kind = "resize"
	// RemoveContainer: remove a container's record and file system.
	RemoveContainer Kind = "remove container"
	// RemoveVolumes: a Pod that is over needs its volumes no longer.
	RemoveVolumes Kind = "remove volumes"
	// Finish: a deleted Pod has nothing left; its volumes, cgroup, logs and
	// record may go.
	Finish Kind = "finish"
)

// Action is one idempotent step. Actions of one decision may run at the same
// time.
type Action struct {
	Kind Kind
	// Container is the name in the Pod's spec; empty for a sandbox.
	Container string
	// ID of what exists (start, stop, remove, remove sandbox).
	ID string
	// Attempt that is to be made (create).
	Attempt int
	// SandboxID that a new container joins, and Round to record with it.
	SandboxID string
	Round     int
	// BackOff to record with a new container.
	BackOff time.Duration
	// Image reference (pull).
	Image string
	// Deadline of a stop: when SIGKILL is due; of a preStop hook: when to go on. Not before Input.Now.
	Deadline time.Time
	// Replace: before it is stopped, it has to be put on record that the container is
	// to be started anew, whatever its restart policy says (Container.Replaced).
	Replace bool
	// Reason and Message of a stop, preStop or removal, for the event.
	Reason, Message string
}

// Key identifies the thing that an action works on: two actions with the same
// key never run at the same time.
func (a Action) Key() string {
	switch a.Kind {
	case CreateSandbox, RemoveSandbox, RemoveVolumes, Finish:
		return "sandbox"
	case PullImage:
		return "image " + a.Image
	case Resize:
		return "resize"
	default:
		return "container " + a.Container
	}
}

// Event is something to tell the Pod's owner, in the kubelet's words.
type Event struct {
	Type, Reason, Message string
	Container             string // for the field path of the event's object
}

// Decision is what to do, what to report, and when to look again.
type Decision struct {
	Actions []Action
	Status  corev1.PodStatus
	Events  []Event
	// Next is when time alone changes the decision; zero if never.
	Next time.Time
}
