// SPDX-License-Identifier: Apache-2.0

package podmgr

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"syscall"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	corev1 "k8s.io/api/core/v1"

	"github.com/minikubelet/minikubelet/api"
	"github.com/minikubelet/minikubelet/podmgr/plan"
	"github.com/minikubelet/minikubelet/runtime"
	"github.com/minikubelet/minikubelet/runtime/spec"
	"github.com/minikubelet/minikubelet/volumes"
)

const sigkill = syscall.SIGKILL

// configError is a fault of the Pod's own configuration: CreateContainerConfigError.
type configError struct{ err error }

func (e *configError) Error() string { return e.err.Error() }
func (e *configError) Unwrap() error { return e.err }

// sandboxID and containerID are deterministic, so that no two instances of one
// attempt can exist. They look like containerd's own: 64 hexadecimal digits.
func sandboxID(pod *corev1.Pod, attempt int) string {
	return hashID(string(pod.UID), "sandbox", strconv.Itoa(attempt))
}

func containerID(pod *corev1.Pod, sandbox, name string, attempt int) string {
	return hashID(string(pod.UID), sandbox, name, strconv.Itoa(attempt))
}

func hashID(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		h.Write([]byte(p))
		h.Write([]byte{0})
	}
	return hex.EncodeToString(h.Sum(nil))
}

// createContainer makes a container in the Pod's sandbox, not yet started.
func (w *worker) createContainer(ctx context.Context, pod *corev1.Pod, a plan.Action) error {
	c, kind := containerOf(pod, a.Container)
	stage := w.stage()
	if c == nil || stage == nil || stage.id != a.SandboxID {
		return nil // the plan is out of date; the next one is not
	}
	container, err := w.container(ctx, pod, c, kind, stage, a)
	if err != nil && ctx.Err() != nil {
		return err // canceled with its sandbox or its Pod: not this container's fault
	}
	if err != nil {
		if !errors.Is(err, runtime.ErrImage) {
			err = &configError{err}
		}
		w.tellFailed(pod, c.Name, err)
		return err
	}
	made, err := w.m.cfg.Runtime.Create(ctx, container)
	if err == nil {
		err = w.verify(ctx, c, stage, made)
	}
	if err != nil {
		if w.sandboxLost(ctx, stage.id) {
			return nil // not this container's fault; the sandbox's failure is told
		}
		if errors.Is(err, runtime.ErrImage) {
			w.forgetImage(c.Image)
		}
		w.tellFailed(pod, c.Name, err)
		return err
	}
	return nil
}

// tellFailed tells that a container could not be made, for which its image was there.
func (w *worker) tellFailed(pod *corev1.Pod, container string, err error) {
	if !errors.Is(err, runtime.ErrImage) {
		w.imageWasThere(pod, container)
	}
	w.event(pod, container, corev1.EventTypeWarning, "Failed", "Error: "+told(err))
}

// verify removes a container that has something else mounted than was checked.
func (w *worker) verify(ctx context.Context, c *corev1.Container, stage *sandboxStage, made runtime.Status) error {
	if made.PID == 0 {
		return nil // the OCI runtime refused it
	}
	err := w.m.cfg.Volumes.Verify(stage.volumes, c.VolumeMounts, fmt.Sprintf("/proc/%d/root", made.PID))
	if err != nil {
		err = errors.Join(err, w.m.cfg.Runtime.Remove(ctx, made.ID))
	}
	return err
}

// verifyCreated does that for the containers that an earlier agent has made and not
// started: it may have died before it looked, or what was checked now is something else.
func (w *worker) verifyCreated(ctx context.Context, pod *corev1.Pod, stage *sandboxStage, statuses []runtime.Status) {
	for _, s := range statuses {
		c, _ := containerOf(pod, s.Name)
		if c == nil || s.Kind == runtime.KindSandbox || s.State != runtime.StateCreated || s.SandboxID != stage.id {
			continue
		}
		if err := w.verify(ctx, c, stage, s); err != nil {
			w.tellFailed(pod, c.Name, err)
		}
	}
}

// sandboxLost tells whether the sandbox that a container was to join is of no use
// any more. While it is being made it waits for the outcome.
func (w *worker) sandboxLost(ctx context.Context, id string) bool {
	making := plan.Action{Kind: plan.CreateSandbox}.Key()
	for {
		change := w.change()
		if !w.isBusy(making) {
			stage := w.stage()
			return stage == nil || stage.id != id
		}
		select {
		case <-change:
		case <-ctx.Done():
			return true
		}
	}
}

func (w *worker) stage() *sandboxStage {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.sandbox
}

// container composes what the leaves give into one container.
func (w *worker) container(ctx context.Context, pod *corev1.Pod, c *corev1.Container, kind runtime.Kind, stage *sandboxStage, a plan.Action) (runtime.Container, error) {
	cfg := &w.m.cfg
	if usesAddress(c) {
		if err := stage.waitNetwork(ctx); err != nil {
			return runtime.Container{}, err
		}
	}
	id := containerID(pod, stage.id, c.Name, a.Attempt)
	env, err := w.env(pod, c, w.envSources(pod, stage))
	if err != nil {
		return runtime.Container{}, err
	}
	volumeMounts, err := expandSubPaths(c, &env)
	if err != nil {
		return runtime.Container{}, err
	}
	if err := w.mountImages(ctx, pod, c, stage); err != nil {
		return runtime.Container{}, err
	}
	volumesPod := w.volumesPod(pod)
	volumesPod.UserNamespace = stage.namespaces.User
	mounts, err := cfg.Volumes.Mounts(ctx, volumesPod, c.Name, stage.volumes, volumeMounts)
	if err != nil {
		return runtime.Container{}, err
	}
	options, err := w.options(pod, c, id, &env, mounts)
	if err != nil {
		return runtime.Container{}, err
	}
	nodes, rules, err := cfg.Volumes.Devices(c.Name, stage.volumes, c.VolumeDevices)
	if err != nil {
		return runtime.Container{}, err
	}
	options.Added, options.Resources.Devices = nodes, append(options.Resources.Devices, rules...)
	if err := w.makeTerminationFile(pod, c.Name, id); err != nil {
		return runtime.Container{}, err
	}
	return runtime.Container{
		ID: id, Pod: runtimePod(pod), Kind: kind, Name: c.Name, Attempt: a.Attempt, SandboxID: stage.id,
		Labels: map[string]string{
			labelSpecHash: api.ContainerHash(c), labelBackOff: a.BackOff.String(), labelSandboxAttempt: strconv.Itoa(stage.attempt),
			labelRound: strconv.Itoa(a.Round), labelResources: givenLabel(pod, c),
		},
		Image:       w.imageName(c.Image),
		LogPath:     LogFile(w.LogDir, pod, c.Name, a.Attempt),
		LogMaxBytes: cfg.LogMaxBytes, LogMaxFiles: cfg.LogMaxFiles,
		Stdin: c.Stdin, TTY: c.TTY,
		StopSignal:     stopSignal(c),
		NeedSandboxPID: sharesPID(pod),
		Spec: func(_ context.Context, in runtime.SpecInput) (*specs.Spec, error) {
			o := options
			o.Image, o.Namespaces = in.Image, namespaces(pod, stage.namespaces, in.SandboxPID)
			if err := w.joinTarget(pod, c.Name, &o.Namespaces); err != nil {
				return nil, err
			}
			err := spec.VerifyRunAsNonRoot(pod, c, options.Security, in.Image.User)
			if err != nil {
				return nil, &configError{err}
			}
			if o.Seccomp, err = spec.LoadProfiles(options.Security, o.Node); err != nil {
				return nil, err
			}
			if o.UserFiles, err = w.m.users.of(in.ImageID, in.View); err != nil {
				return nil, err
			}
			return spec.Build(o, in.View)
		},
	}, nil
}

// envSources are the store and the Pod's volumes.
func (w *worker) envSources(pod *corev1.Pod, stage *sandboxStage) envSources {
	return envSources{
		objects: storeObjects{w.m.cfg.Store}, ips: w.podIPs(pod, stage),
		file: func(volume, path string) ([]byte, error) {
			vol, ok := stage.volumes[volume]
			if !ok {
				return nil, fmt.Errorf("cannot find the volume %q referenced by FileKeyRef", volume)
			}
			return volumes.ReadFile(vol, path, maxEnvFile)
		},
	}
}

func isTrue(b *bool) bool { return b != nil && *b }

func stopSignal(c *corev1.Container) string {
	if c.Lifecycle != nil && c.Lifecycle.StopSignal != nil {
		return string(*c.Lifecycle.StopSignal)
	}
	return ""
}

// usesAddress tells whether a container must wait for the Pod's address.
func usesAddress(c *corev1.Container) bool {
	for _, v := range c.Env {
		if v.ValueFrom != nil && v.ValueFrom.FieldRef != nil {
			if p := v.ValueFrom.FieldRef.FieldPath; p == "status.podIP" || p == "status.podIPs" {
				return true
			}
		}
	}
	return false
}

// startContainer starts a created container.
func (w *worker) startContainer(ctx context.Context, pod *corev1.Pod, a plan.Action) error {
	err := w.m.cfg.Runtime.Start(ctx, a.ID)
	w.imageWasThere(pod, a.Container)
	w.event(pod, a.Container, corev1.EventTypeNormal, "Created", "Container created")
	if err != nil {
		w.event(pod, a.Container, corev1.EventTypeWarning, "Failed", "Error: "+told(err))
		if s, ok := w.find(a.ID); ok && s.State == runtime.StateExited {
			return nil // the start error is on record as the container's end
		}
		return err
	}
	w.event(pod, a.Container, corev1.EventTypeNormal, "Started", "Container started")
	return nil
}

func (w *worker) find(id string) (runtime.Status, bool) {
	for _, s := range w.m.cfg.Runtime.Pod(w.uid) {
		if s.ID == id {
			return s, true
		}
	}
	return runtime.Status{}, false
}

// removeContainer removes a container's record, file system and logs.
func (w *worker) removeContainer(ctx context.Context, pod *corev1.Pod, a plan.Action) error {
	s, ok := w.find(a.ID)
	if err := w.m.cfg.Runtime.Remove(ctx, a.ID); err != nil {
		return err
	}
	w.mu.Lock()
	delete(w.messages, a.ID)
	delete(w.hooks, a.ID)
	w.mu.Unlock()
	if !ok {
		return nil
	}
	return w.removeContainerFiles(pod, s)
}

// stopContainer sends the stop signal, waits, and sends SIGKILL at the deadline,
// which sooner draws nearer.
func (w *worker) stopContainer(ctx context.Context, pod *corev1.Pod, a plan.Action, sooner <-chan time.Time) error {
	status, ok := w.find(a.ID)
	if !ok || status.State != runtime.StateRunning {
		return nil
	}
	if a.Replace {
		if err := w.markReplaced(ctx, a.ID); err != nil {
			return err
		}
	}
	if w.hooksOf(a.ID).preStop.Result == "" { // else it was told before the hook
		w.event(pod, a.Container, corev1.EventTypeNormal, "Killing", a.Message)
	}
	deadline := a.Deadline
	if time.Until(deadline) > 0 {
		if err := w.signal(ctx, a.ID, parseSignal(status.StopSignal), false); err != nil {
			return err
		}
	}
	for time.Until(deadline) > 0 {
		change := w.change()
		if !w.runs(a.ID) {
			return nil
		}
		timer := time.NewTimer(time.Until(deadline))
		select {
		case <-change:
		case deadline = <-sooner:
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	if err := w.signal(ctx, a.ID, sigkill, true); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, settleBound)
	defer cancel()
	return w.waitExit(ctx, a.ID)
}

// signal sends a signal; that the process ended before is no error.
func (w *worker) signal(ctx context.Context, id string, sig syscall.Signal, all bool) error {
	err := w.m.cfg.Runtime.Signal(ctx, id, sig, all)
	if errors.Is(err, runtime.ErrNotFound) || errors.Is(err, runtime.ErrState) {
		return nil
	}
	return err
}
