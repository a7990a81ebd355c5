// SPDX-License-Identifier: Apache-2.0

package runtime

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"time"

	"github.com/containerd/containerd/v2/pkg/identifiers"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// Errors that callers decide on, with errors.Is.
var (
	// ErrNotFound: there is no container of that ID.
	ErrNotFound = errors.New("container not found")
	// ErrState: the container is not in a state that allows the operation, for instance Start of an ended one.
	ErrState = errors.New("container is in the wrong state")
	// ErrImage: the image is not in the image store, or cannot be read or unpacked.
	ErrImage = errors.New("image not usable")
)

// ContainerError is a failure of Create or Start. Err is what went wrong, for whoever knows which container it is about.
type ContainerError struct {
	Op, Name, ID string
	Err          error
}

func (e *ContainerError) Error() string {
	return fmt.Sprintf("%s container %s (%s): %v", e.Op, e.Name, e.ID, e.Err)
}
func (e *ContainerError) Unwrap() error { return e.Err }

// Pod names the Pod that a container belongs to.
type Pod struct {
	Namespace, Name, UID string
}

// Kind is the role of a container in its Pod.
type Kind string

// The kinds of containers.
const (
	KindSandbox   Kind = "sandbox"
	KindInit      Kind = "init"
	KindApp       Kind = "app"
	KindEphemeral Kind = "ephemeral"
)

// State is where a container stands.
type State string

// The states of a container, in the order in which it passes through them.
const (
	// StateCreating: Create is under way.
	StateCreating State = "Creating"
	// StateCreated: everything is made, and the process waits for Start. Message is not empty when the OCI runtime refused the
	// container; Start then fails with that message.
	StateCreated State = "Created"
	// StateRunning: Start succeeded, and no exit was seen.
	StateRunning State = "Running"
	// StateExited: it ended, or could not be started (ExitCode 128, StartedAt zero, Message says why).
	StateExited State = "Exited"
	// StateUnknown: there is a record but no task and no exit on record: the machine was rebooted, the shim vanished together with
	// the exit code, or an agent died in the middle of Create or Remove. When StartedAt is zero no start was recorded, and Create
	// of the same ID cleans up and makes it anew; otherwise the container ran and is lost.
	StateUnknown State = "Unknown"
)

// Container says what to create. The caller keeps ownership of the maps and must not change them during Create.
type Container struct {
	// ID is unique among all containers ever made, the attempt included; 64 hexadecimal characters by convention.
	ID  string
	Pod Pod
	// Kind is KindSandbox for the pause container, whose ID is the Pod's sandbox ID.
	Kind Kind
	Name string
	// Attempt counts the instances of this container within the Pod, from 0.
	Attempt int
	// SandboxID is the ID of the Pod's pause container; empty for that container itself.
	SandboxID string
	// Labels are kept on the container record and given back in Status. Names that this package uses itself are overwritten.
	Labels map[string]string
	// Image is a name known to the image store. When empty there is no snapshot: Spec must set an absolute Root.Path.
	Image string
	// ImageID is reported in Status; empty means the digest of the image's config.
	ImageID string
	// LogPath is the absolute path of the CRI log file that the shim writes; empty discards the output.
	LogPath string
	// LogMaxBytes and LogMaxFiles bound the log: size of a file in bytes, number of files. Zero leaves the shim's defaults.
	LogMaxBytes int64
	LogMaxFiles int
	// Stdin gives the container an input that Attach writes to; without it the input is empty. TTY says that the OCI spec asks for a
	// terminal. Both need a LogPath.
	Stdin, TTY bool
	// StopSignal is the name of the signal that asks the process to end; empty takes the image's. Reported in Status.
	StopSignal string
	// NeedSandboxPID makes Create wait until the sandbox's process exists, so that Spec can join its PID namespace.
	NeedSandboxPID bool
	// Spec makes the OCI spec. It is called once for each Create, from the goroutine that called Create.
	Spec func(ctx context.Context, in SpecInput) (*specs.Spec, error)
}

// SpecInput is what only the runtime knows about a container to be made.
type SpecInput struct {
	// Image is the image's configuration; zero without an image.
	Image ocispec.ImageConfig
	// ImageID is the digest of that configuration; empty without an image.
	ImageID string
	// SandboxPID is the process ID of the sandbox's process, 0 unless NeedSandboxPID was set.
	SandboxPID int
	// View mounts the image's file system read-only, calls fn with its path, and unmounts it again. For looking up names in
	// /etc/passwd and /etc/group; it costs about as much as a snapshot, so call it only when needed. The path is not to be trusted:
	// images contain symbolic links.
	View func(fn func(root string) error) error
}

// Status is what is known about a container. It is a copy: the receiver may keep it, but the Labels map is shared and must not be
// changed.
type Status struct {
	ID        string
	Pod       Pod
	Kind      Kind
	Name      string
	Attempt   int
	SandboxID string
	Labels    map[string]string
	State     State
	// PID of the first process, in the agent's PID namespace; 0 without a process.
	PID        int
	Image      string
	ImageID    string
	StopSignal string
	// CgroupsPath is linux.cgroupsPath of the OCI spec.
	CgroupsPath string
	// User is who the first process was started as, by numbers; nil if that is not known. It must not be changed.
	User      *specs.User
	CreatedAt time.Time
	// StartedAt and FinishedAt are zero as long as they did not happen. StartedAt never lies after FinishedAt.
	StartedAt  time.Time
	FinishedAt time.Time
	// ExitCode is the process' exit status, or 128 plus the signal that ended it (containerd does not tell the two apart).
	ExitCode  int32
	OOMKilled bool
	// Released says that an ended container holds nothing any more, and that its log is complete.
	Released bool
	// Message says what went wrong when the container could not be created or started.
	Message string
}

func (c *Container) validate() error {
	if err := identifiers.Validate(c.ID); err != nil {
		return fmt.Errorf("container ID: %w", err)
	}
	switch {
	case c.Pod.UID == "" || c.Name == "" || c.Kind == "":
		return fmt.Errorf("container %s: Pod UID, kind and name must be set", c.ID)
	case c.Spec == nil:
		return fmt.Errorf("container %s: Spec must be set", c.ID)
	case (c.Kind == KindSandbox) != (c.SandboxID == ""):
		return fmt.Errorf("container %s: a container of kind %s must%s have a sandbox ID", c.ID, c.Kind, map[bool]string{true: " not"}[c.Kind == KindSandbox])
	case c.LogPath == "" && (c.Stdin || c.TTY):
		return fmt.Errorf("container %s: an input or a terminal needs a log path", c.ID)
	case c.LogPath != "" && !filepath.IsAbs(c.LogPath):
		return fmt.Errorf("container %s: log path %q must be absolute", c.ID, c.LogPath)
	}
	return nil
}

// newStatus is the status of a container whose Create begins.
func (c *Container) newStatus() Status {
	return Status{
		ID: c.ID, Pod: c.Pod, Kind: c.Kind, Name: c.Name, Attempt: c.Attempt, SandboxID: c.SandboxID,
		Labels: maps.Clone(c.Labels), State: StateCreating, Image: c.Image, ImageID: c.ImageID, StopSignal: c.StopSignal,
	}
}
