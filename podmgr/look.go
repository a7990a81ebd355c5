// SPDX-License-Identifier: Apache-2.0

package podmgr

import (
	"context"
	"maps"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/minikubelet/minikubelet/api"
	"github.com/minikubelet/minikubelet/cgroups"
	"github.com/minikubelet/minikubelet/podmgr/plan"
	"github.com/minikubelet/minikubelet/runtime"
	"github.com/minikubelet/minikubelet/volumes"
)

// Labels on our containers beside the runtime's own.
const (
	labelSpecHash = "minikubelet/spec-hash"
	labelBackOff  = "minikubelet/back-off"
	// labelSandboxAttempt is the attempt of the sandbox that the container joined.
	labelSandboxAttempt = "minikubelet/sandbox-attempt"
	// labelRound counts the restarts of all containers before; absent: none.
	labelRound = "minikubelet/round"
)

// sandboxStage is what the worker knows of the sandbox in use beyond its pause
// container: found by looking when the worker starts, kept while it runs.
type sandboxStage struct {
	sandboxView
	namespaces runtime.Namespaces
	volumes    volumes.Volumes
	// otherSize: the Pod's cgroup has another size than it is to have, and only a resize
	// may change it, in its order.
	otherSize bool
	networkGate
}

// sandboxView is the part of a stage that changes; worker.mu guards it once the
// stage is the worker's. A copy is safe to keep. An empty id stands for none.
type sandboxView struct {
	id      string
	attempt int
	// joinable: cgroup, volumes and namespaces are there, containers may be made.
	joinable bool
	// ready: the network is attached and the pause container made; it runs, or is
	// just starting.
	ready     bool
	createdAt time.Time
	ips       []string // the Pod's own; of one with hostNetwork see podIPs
}

// look gathers what plan decides on. It reads memory, and files only for news.
func (w *worker) look(ctx context.Context) plan.Input {
	hostIPs := w.HostIPs()
	w.mu.Lock()
	pod := w.pod
	in := plan.Input{
		Pod: pod, Last: withForeignConditions(w.last, &pod.Status), Refused: w.refused, Ended: w.ended, Reclaim: w.reclaim, Now: time.Now(),
		Node: plan.Node{HostIPs: hostIPs, RecursiveReadOnly: w.m.cfg.Volumes.RecursiveReadOnly()}, QOSClass: cgroups.QOSClass(pod),
		Seen: plan.Seen{
			Volumes:  w.hasVolumes,
			Failures: maps.Clone(w.failures),
			Busy:     make(map[string]bool, len(w.busy)),
		},
		Hashes: w.hashes, Size: w.podSize(pod), Effective: effective(pod),
		Pending: w.pending, AllocatedGeneration: w.allocatedFor,
	}
	for key := range w.busy {
		in.Seen.Busy[key] = true
	}
	var stage sandboxView
	if w.sandbox != nil {
		stage = w.sandbox.sandboxView
	}
	w.mu.Unlock()
	// After what is under way: a step that ends meanwhile counts as under way, with
	// its outcome. The other way round it would count as over, without.
	statuses := w.m.cfg.Runtime.Pod(w.uid)

	w.followProbes(ctx, pod, statuses)

	in.Seen.Sandboxes = seenSandboxes(statuses, stage)
	for i := range statuses {
		if s := &statuses[i]; s.Kind != runtime.KindSandbox {
			in.Seen.Containers = append(in.Seen.Containers, w.seenContainer(pod, s, in.Seen.Busy))
		}
	}
	in.Seen.Images = w.seenImages(ctx, pod)
	return in
}

func containerHashes(pod *corev1.Pod) map[string]string {
	hashes := make(map[string]string, len(pod.Spec.InitContainers)+len(pod.Spec.Containers))
	for c := range Containers(pod) {
		hashes[c.Name] = api.ContainerHash(c)
	}
	return hashes
}

// seenSandboxes joins the pause containers with the stage of the one in use.
func seenSandboxes(statuses []runtime.Status, stage sandboxView) []plan.Sandbox {
	var out []plan.Sandbox
	found := false
	for _, s := range statuses {
		if s.Kind != runtime.KindSandbox {
			continue
		}
		sandbox := plan.Sandbox{ID: s.ID, Attempt: s.Attempt, CreatedAt: s.CreatedAt, State: plan.Unknown, Size: s.Labels[labelSize]}
		inUse := stage.id == s.ID
		found = found || inUse
		switch {
		case s.State == runtime.StateExited:
			sandbox.State = plan.Exited
		case inUse && stage.ready && (s.State == runtime.StateRunning || s.State == runtime.StateCreated):
			sandbox.State, sandbox.IPs = plan.Running, stage.ips
		case inUse && !stage.ready && stage.joinable:
			sandbox.State = plan.Created
		}
		out = append(out, sandbox)
	}
	if stage.joinable && !stage.ready && !found {
		out = append(out, plan.Sandbox{ID: stage.id, Attempt: stage.attempt, CreatedAt: stage.createdAt, State: plan.Created})
	}
	sortSandboxes(out)
	return out
}

func (w *worker) seenContainer(pod *corev1.Pod, s *runtime.Status, busy map[string]bool) plan.Container {
	c := plan.Container{
		ID: s.ID, Name: s.Name, Attempt: s.Attempt, SandboxID: s.SandboxID,
		SpecHash:  s.Labels[labelSpecHash],
		CreatedAt: s.CreatedAt, StartedAt: s.StartedAt, FinishedAt: s.FinishedAt,
		User: containerUser(s), StopSignal: corev1.Signal(s.StopSignal),
		Resources: given(s), Replaced: s.Labels[labelReplaced] != "",
		ExitCode: s.ExitCode, OOMKilled: s.OOMKilled, Message: s.Message, Image: s.Image, ImageID: s.ImageID,
	}
	// Labels of our own making: a missing one counts as zero.
	c.BackOff, _ = time.ParseDuration(s.Labels[labelBackOff])
	c.SandboxAttempt, _ = strconv.Atoi(s.Labels[labelSandboxAttempt])
	c.Round, _ = strconv.Atoi(s.Labels[labelRound])
	switch s.State {
	case runtime.StateCreating:
		c.State = plan.Unknown
		if busy["container "+s.Name] { // its action is under way
			c.State = plan.Created
		}
	case runtime.StateCreated:
		c.State = plan.Created
	case runtime.StateRunning:
		c.State, c.Probes = plan.Running, w.m.prober.results(w.uid, s.ID)
		c.PostStart, c.PreStop = w.hooksOf(s.ID).postStart, w.hooksOf(s.ID).preStop
	case runtime.StateExited:
		c.State = plan.Exited
		if c.Message == "" {
			c.Message = w.terminationMessage(pod, s)
		}
	default:
		c.State = plan.Unknown
	}
	return c
}

// containerUser is who a container's first process was started as, in the API's form.
func containerUser(s *runtime.Status) *corev1.ContainerUser {
	if s.User == nil {
		return nil
	}
	user := &corev1.LinuxContainerUser{UID: int64(s.User.UID), GID: int64(s.User.GID)}
	for _, gid := range s.User.AdditionalGids {
		user.SupplementalGroups = append(user.SupplementalGroups, int64(gid))
	}
	return &corev1.ContainerUser{Linux: user}
}

func (w *worker) isBusy(key string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.busy[key] != nil
}

// Containers yields init containers, then app containers, then ephemeral ones, in
// order.
func Containers(pod *corev1.Pod) func(yield func(*corev1.Container) bool) {
	return func(yield func(*corev1.Container) bool) {
		for i := range pod.Spec.InitContainers {
			if !yield(&pod.Spec.InitContainers[i]) {
				return
			}
		}
		for i := range pod.Spec.Containers {
			if !yield(&pod.Spec.Containers[i]) {
				return
			}
		}
		for i := range pod.Spec.EphemeralContainers {
			if !yield(asContainer(&pod.Spec.EphemeralContainers[i])) {
				return
			}
		}
	}
}

// containerOf finds a container of the spec and its kind by name.
func containerOf(pod *corev1.Pod, name string) (*corev1.Container, runtime.Kind) {
	for i := range pod.Spec.InitContainers {
		if pod.Spec.InitContainers[i].Name == name {
			return &pod.Spec.InitContainers[i], runtime.KindInit
		}
	}
	for i := range pod.Spec.Containers {
		if pod.Spec.Containers[i].Name == name {
			return &pod.Spec.Containers[i], runtime.KindApp
		}
	}
	for i := range pod.Spec.EphemeralContainers {
		if e := &pod.Spec.EphemeralContainers[i]; e.Name == name {
			return asContainer(e), runtime.KindEphemeral
		}
	}
	return nil, ""
}

// asContainer is an ephemeral container as one like the others: the same memory.
func asContainer(e *corev1.EphemeralContainer) *corev1.Container {
	return (*corev1.Container)(&e.EphemeralContainerCommon)
}

// adopt takes over the sandbox of an earlier agent when it has a pause container,
// and makes good what is missing of it: each part is idempotent.
func (w *worker) adopt(ctx context.Context) {
	var newest *runtime.Status
	statuses := w.m.cfg.Runtime.Pod(w.uid)
	for i := range statuses {
		if s := &statuses[i]; s.Kind == runtime.KindSandbox && (newest == nil || s.Attempt > newest.Attempt) {
			newest = s
		}
	}
	if newest == nil || (newest.State != runtime.StateRunning && newest.State != runtime.StateCreated) {
		return
	}
	w.mu.Lock()
	pod := w.pod
	w.mu.Unlock()
	stage := newStage(newest.ID, newest.Attempt, newest.CreatedAt)
	stage.otherSize = newest.Labels[labelSize] != "" && newest.Labels[labelSize] != w.podSize(pod)
	if err := w.prepareSandbox(ctx, pod, stage); err != nil {
		w.log.Warn("the sandbox of an earlier agent is incomplete; it is made anew", "sandbox", newest.ID, "err", err)
		return
	}
	w.verifyCreated(ctx, pod, stage, statuses)
	if err := w.attachNetwork(ctx, pod, stage); err != nil {
		ips, attached := w.attachedIPs(pod)
		w.log.Warn("cannot repair the Pod's network", "sandbox", newest.ID, "attached", attached, "err", err)
		if !attached {
			return
		}
		stage.ips = ips
	}
	if newest.State == runtime.StateCreated { // the agent died just before its start
		if err := w.m.cfg.Runtime.Start(ctx, newest.ID); err != nil {
			w.log.Warn("cannot start the sandbox of an earlier agent; it is made anew", "sandbox", newest.ID, "err", err)
			return
		}
	}
	stage.joinable, stage.ready = true, true
	w.setStage(stage)
}

func newStage(id string, attempt int, createdAt time.Time) *sandboxStage {
	return &sandboxStage{
		sandboxView: sandboxView{id: id, attempt: attempt, createdAt: createdAt},
		networkGate: networkGate{networked: make(chan struct{})},
	}
}
