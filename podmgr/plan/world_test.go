// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// epoch is when every story begins.
var epoch = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// world is a node with one Pod: what there is, and what happens to it. It knows no
// rules of its own but those of reality: an action takes effect when it completes,
// a process ends when it wants to or is killed.
type world struct {
	pod        *corev1.Pod
	now        time.Time
	last       corev1.PodStatus
	refused    *Refusal
	ended      *End
	sandboxes  []Sandbox
	containers []Container
	images     map[string]Image
	unpullable map[string]bool
	failures   map[string]Failure
	busy       map[string]Action
	hashes     map[string]string
	stubborn   map[string]bool   // ignores the stop signal
	broken     map[string]string // what fails, with the message: kinds, or kinds and containers
	waits      bool              // what fails waits for an object
	hash       map[string]string // of what is being created
	pending    *PendingResize
	volumes    bool
	reclaim    bool
	address    string // the node's
	finished   bool
}

func newWorld(o podOptions) *world {
	pod := makePod(o)
	w := &world{
		pod: pod, now: epoch, address: "192.0.2.1",
		images: map[string]Image{}, unpullable: map[string]bool{}, failures: map[string]Failure{},
		busy: map[string]Action{}, hashes: map[string]string{}, stubborn: map[string]bool{},
		broken: map[string]string{}, hash: map[string]string{},
	}
	for _, c := range append(append([]corev1.Container{}, pod.Spec.InitContainers...), pod.Spec.Containers...) {
		w.images[c.Image] = Image{Present: !o.missing}
		w.hashes[c.Name] = "v1"
	}
	return w
}

func (w *world) input() Input {
	in := Input{
		Pod: w.pod, Last: *w.last.DeepCopy(), Refused: w.refused, Ended: w.ended, Now: w.now,
		Pending: w.pending, Size: w.size(), Reclaim: w.reclaim,
		QOSClass: corev1.PodQOSBestEffort, Hashes: w.hashes, Node: Node{HostIPs: []string{w.address}},
		Seen: Seen{
			Sandboxes:  append([]Sandbox{}, w.sandboxes...),
			Containers: append([]Container{}, w.containers...),
			Images:     w.images, Failures: w.failures, Busy: map[string]bool{}, Volumes: w.volumes,
		},
	}
	for k := range w.busy {
		in.Seen.Busy[k] = true
	}
	return in
}

// begin starts an action; some of its effects are seen before it completes.
func (w *world) begin(a Action) {
	if b, ok := w.busy[a.Key()]; ok {
		switch {
		case !a.ending() || !b.ending() && b.Kind != PostStart:
		case b.Kind == PostStart: // is given up
			w.busy[a.Key()] = a
		case a.Deadline.Before(b.Deadline):
			b.Deadline = a.Deadline
			w.busy[a.Key()] = b
		}
		return
	}
	w.busy[a.Key()] = a
	switch a.Kind {
	case CreateSandbox:
		w.volumes = true
		if w.sandbox(a.Attempt) == nil {
			w.sandboxes = append(w.sandboxes, Sandbox{ID: fmt.Sprintf("sandbox-%d", a.Attempt), Attempt: a.Attempt, State: Created, CreatedAt: w.now, Size: w.size()})
		}
	case CreateContainer:
		w.hash[a.Container] = w.hashes[a.Container]
	case PullImage:
		img := w.images[a.Image]
		img.Pulling = true
		w.images[a.Image] = img
	}
}

// complete ends an action that is under way.
func (w *world) complete(key string) {
	a := w.busy[key]
	delete(w.busy, key)
	message, bad := w.broken[string(a.Kind)]
	if !bad {
		message, bad = w.broken[string(a.Kind)+a.Container]
	}
	if a.Kind == PostStart || a.Kind == PreStop {
		w.hooked(a, bad)
		return
	}
	if bad {
		w.failures[key] = Failure{Kind: a.Kind, Message: message, At: w.now, Count: w.failures[key].Count + 1, Waits: w.waits}
		return
	}
	if w.failures[key].Kind == a.Kind {
		delete(w.failures, key)
	}
	switch a.Kind {
	case CreateSandbox:
		s := w.sandbox(a.Attempt)
		s.State, s.IPs = Running, []string{fmt.Sprintf("10.0.0.%d", a.Attempt+2)}
	case RemoveSandbox:
		for i := range w.sandboxes {
			if w.sandboxes[i].ID == a.ID {
				w.sandboxes = append(w.sandboxes[:i], w.sandboxes[i+1:]...)
				break
			}
		}
	case PullImage:
		w.pulled(a.Image)
	case CreateContainer:
		attempt := 0
		for _, s := range w.sandboxes {
			if s.ID == a.SandboxID {
				attempt = s.Attempt
			}
		}
		w.containers = append(w.containers, Container{
			ID: fmt.Sprintf("%s-%d", a.Container, a.Attempt), Name: a.Container, Attempt: a.Attempt, State: Created,
			SandboxID: a.SandboxID, SandboxAttempt: attempt, Round: a.Round, SpecHash: w.hash[a.Container], BackOff: a.BackOff, CreatedAt: w.now, Resources: w.given(a.Container),
		})
	case StartContainer:
		c := w.container(a.ID)
		c.State, c.StartedAt = Running, w.now
		c.Image, c.ImageID = "registry/image-"+c.Name+":latest", "sha256:"+c.Name
		c.User, c.StopSignal = &corev1.ContainerUser{Linux: &corev1.LinuxContainerUser{UID: 1000}}, "SIGTERM"
	case Resize:
		w.resized()
	case StopContainer:
		if c := w.container(a.ID); c != nil {
			c.Replaced = a.Replace
		}
		code, signal := int32(143), int32(15)
		if !w.now.Before(a.Deadline) {
			code, signal = 137, 9
		}
		w.exit(w.container(a.ID), code, signal)
	case RemoveContainer:
		for i := range w.containers {
			if w.containers[i].ID == a.ID {
				w.containers = append(w.containers[:i], w.containers[i+1:]...)
				break
			}
		}
	case RemoveVolumes:
		w.volumes = false
	case Finish:
		w.finished = true
	}
}

// hooked ends a hook; a failure is not the action's.
func (w *world) hooked(a Action, bad bool) {
	c := w.container(a.ID)
	if c == nil || c.State != Running {
		return
	}
	h := Hook{Result: ProbeSucceeded, EndedAt: w.now, Deadline: a.Deadline}
	if bad {
		h.Result, h.Message = ProbeFailed, "it broke"
	}
	if a.Kind == PostStart {
		c.PostStart = h
	} else {
		c.PreStop = h
	}
}

func (w *world) pulled(ref string) {
	img := w.images[ref]
	img.Pulling = false
	if w.unpullable[ref] {
		img.Reason, img.Message, img.FailedAt = errImagePull, "no such host", w.now
		img.Failures++
	} else {
		img = Image{Present: true, PulledAt: w.now}
	}
	w.images[ref] = img
}

func (w *world) exit(c *Container, code, signal int32) {
	if c == nil || c.State != Running {
		return
	}
	c.State, c.ExitCode, c.Signal, c.FinishedAt = Exited, code, signal, w.now
}

func (w *world) sandbox(attempt int) *Sandbox {
	for i := range w.sandboxes {
		if w.sandboxes[i].Attempt == attempt {
			return &w.sandboxes[i]
		}
	}
	return nil
}

func (w *world) container(id string) *Container {
	for i := range w.containers {
		if w.containers[i].ID == id {
			return &w.containers[i]
		}
	}
	return nil
}

// live is the running attempt at a container, nil if there is none.
func (w *world) live(name string) *Container {
	for i := range w.containers {
		if c := &w.containers[i]; c.Name == name && c.State == Running {
			return c
		}
	}
	return nil
}

// agentRestarts forgets what only the agent's memory had. What it had begun is half
// done, or done.
func (w *world) agentRestarts() {
	w.busy, w.failures = map[string]Action{}, map[string]Failure{}
	for ref, img := range w.images {
		w.images[ref] = Image{Present: img.Present}
	}
	for i := range w.containers {
		w.containers[i].PostStart, w.containers[i].PreStop = Hook{}, Hook{}
		w.containers[i].Probes.Liveness = ""
	}
}

// reboot ends everything without a record.
func (w *world) reboot() {
	w.agentRestarts()
	for i := range w.containers {
		if c := &w.containers[i]; c.State == Running || c.State == Created {
			c.State = Unknown
		}
	}
	for i := range w.sandboxes {
		w.sandboxes[i].State = Unknown
	}
}

func (w *world) delete(grace time.Duration) {
	t := metav1.NewTime(w.now.Add(grace))
	if w.pod.DeletionTimestamp == nil || t.Before(w.pod.DeletionTimestamp) {
		w.pod.DeletionTimestamp, w.pod.DeletionGracePeriodSeconds = &t, ptr(int64(grace/time.Second))
	}
}

// debug adds an ephemeral container.
func (w *world) debug(name string) {
	c := corev1.EphemeralContainer{}
	c.Name, c.Image, c.ImagePullPolicy = name, "image-"+name, corev1.PullIfNotPresent
	if _, known := w.images[c.Image]; !known {
		w.images[c.Image] = Image{Present: true}
	}
	w.pod.Spec.EphemeralContainers = append(w.pod.Spec.EphemeralContainers, c)
	w.pod.Generation++
}

// startedUp lets a running container's startup probe succeed and says whether that
// changed anything.
func (w *world) startedUp(name string) bool {
	c := w.live(name)
	if c == nil || c.Probes.Startup == ProbeSucceeded {
		return false
	}
	for _, spec := range w.pod.Spec.InitContainers {
		if spec.Name == name && spec.StartupProbe != nil {
			c.Probes.Startup = ProbeSucceeded
			return true
		}
	}
	return false
}

// lose removes every record of a container that does not run.
func (w *world) lose(name string) {
	w.containers = slices.DeleteFunc(w.containers, func(c Container) bool { return c.Name == name })
}

// hasRules says whether a container has restart rules.
func (w *world) hasRules(name string) bool {
	for _, c := range slices.Concat(w.pod.Spec.InitContainers, w.pod.Spec.Containers) {
		if c.Name == name {
			return len(c.RestartPolicyRules) > 0
		}
	}
	return false
}

// denies says that there is no room for another memory limit of a container.
func (w *world) denies(name, memory, reason string) {
	desired := &world{pod: w.pod.DeepCopy()}
	desired.allocate(name, memory)
	w.pod.Generation++
	w.pending = &PendingResize{Desired: desired.pod, Reason: reason, Message: "no room"}
}

// probedLive says whether a container has a liveness probe.
func (w *world) probedLive(name string) bool {
	for _, c := range slices.Concat(w.pod.Spec.InitContainers, w.pod.Spec.Containers) {
		if c.Name == name {
			return c.LivenessProbe != nil
		}
	}
	return false
}

// size is that of the Pod's cgroup: the resources of all containers.
func (w *world) size() string {
	text := ""
	for _, c := range append(append([]corev1.Container{}, w.pod.Spec.InitContainers...), w.pod.Spec.Containers...) {
		text += fmt.Sprint(c.Name, c.Resources.Limits.Memory(), c.Resources.Limits.Cpu(), " ")
	}
	return text
}

// given is what the cgroup of a container made now gets.
func (w *world) given(name string) *corev1.ResourceRequirements {
	for _, c := range append(append([]corev1.Container{}, w.pod.Spec.InitContainers...), w.pod.Spec.Containers...) {
		if c.Name == name {
			given := Given(w.pod, &c)
			return &given
		}
	}
	return nil
}

// resized gives the cgroups what is allocated, if they are still there.
func (w *world) resized() {
	if len(w.sandboxes) == 0 {
		return
	}
	w.sandboxes[len(w.sandboxes)-1].Size = w.size()
	for _, c := range append(append([]corev1.Container{}, w.pod.Spec.InitContainers...), w.pod.Spec.Containers...) {
		if live := w.live(c.Name); live != nil {
			if _, restart := Misfit(w.pod, &c, live.Resources); !restart {
				live.Resources = w.given(c.Name)
			}
		}
	}
}

// allocate gives a container another memory limit.
func (w *world) allocate(name, memory string) {
	for _, list := range [][]corev1.Container{w.pod.Spec.InitContainers, w.pod.Spec.Containers} {
		for i := range list {
			if list[i].Name == name {
				list[i].Resources.Limits = corev1.ResourceList{corev1.ResourceMemory: resource.MustParse(memory)}
			}
		}
	}
	w.pod.Generation++
}

// podOptions make a Pod from the words of a story.
type podOptions struct {
	restartPolicy string
	init, app     []string // name, name* for a sidecar, name=128Mi with a memory limit
	grace         int64
	deadline      int64
	pull          string
	hooks         bool // of apps and sidecars
	debug         bool // an ephemeral container may be added
	missing       bool // images have to be pulled
	// resizeRestarts: another memory limit is a reason to restart
	resizeRestarts bool
	// rule of each container for the exit code 3; empty: none
	rule   corev1.ContainerRestartRuleAction
	probes bool // apps have a liveness probe, sidecars a startup probe, too
}

func makePod(o podOptions) *corev1.Pod {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "x", Namespace: "ns", UID: "uid", Generation: 1},
		Spec: corev1.PodSpec{
			RestartPolicy: corev1.RestartPolicy(o.restartPolicy), TerminationGracePeriodSeconds: &o.grace,
		},
	}
	if o.deadline > 0 {
		pod.Spec.ActiveDeadlineSeconds = &o.deadline
	}
	make := func(word string) corev1.Container {
		name, memory, limited := strings.Cut(word, ":")
		c := corev1.Container{ImagePullPolicy: corev1.PullPolicy(o.pull)}
		if strings.HasSuffix(name, "*") {
			always := corev1.ContainerRestartPolicyAlways
			name, c.RestartPolicy = strings.TrimSuffix(name, "*"), &always
		}
		c.Name, c.Image = name, "image-"+name
		if o.hooks && (isSidecar(&c) || slices.Contains(o.app, word)) {
			c.Lifecycle = &corev1.Lifecycle{PostStart: &corev1.LifecycleHandler{}, PreStop: &corev1.LifecycleHandler{}}
		}
		if o.probes && (isSidecar(&c) || slices.Contains(o.app, word)) {
			c.LivenessProbe = &corev1.Probe{}
			if isSidecar(&c) {
				c.StartupProbe = &corev1.Probe{}
			}
		}
		if o.resizeRestarts {
			c.ResizePolicy = []corev1.ContainerResizePolicy{{ResourceName: corev1.ResourceMemory, RestartPolicy: corev1.RestartContainer}}
		}
		if o.rule != "" {
			if c.RestartPolicy == nil {
				own := corev1.ContainerRestartPolicy(o.restartPolicy)
				c.RestartPolicy = &own
				if slices.Contains(o.init, word) && own == corev1.ContainerRestartPolicyAlways {
					*c.RestartPolicy = corev1.ContainerRestartPolicyOnFailure
				}
			}
			c.RestartPolicyRules = restartRule(o.rule, 3)
		}
		if limited {
			c.Resources.Limits = corev1.ResourceList{corev1.ResourceMemory: resource.MustParse(memory)}
		}
		return c
	}
	for _, word := range o.init {
		pod.Spec.InitContainers = append(pod.Spec.InitContainers, make(word))
	}
	for _, word := range o.app {
		pod.Spec.Containers = append(pod.Spec.Containers, make(word))
	}
	return pod
}

func restartRule(action corev1.ContainerRestartRuleAction, code int32) []corev1.ContainerRestartRule {
	return []corev1.ContainerRestartRule{{
		Action:    action,
		ExitCodes: &corev1.ContainerRestartRuleOnExitCodes{Operator: corev1.ContainerRestartRuleOnExitCodesOpIn, Values: []int32{code}},
	}}
}

func sortedKeys(m map[string]Action) []string {
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}
