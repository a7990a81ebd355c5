// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"reflect"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// judge takes decisions for a world, checks each against what must hold in every
// world, and begins its actions. It decides on its own what is allowed: from the
// world's records, not from the code under test.
type judge struct {
	*world
	next time.Time
	// hooks: apps and sidecars have lifecycle hooks.
	hooks bool
	// debugs: an ephemeral container may be added.
	debugs bool
	log    []string
}

// step takes one decision; it returns how many actions began.
func (j *judge) step() (began int, err error) {
	in := j.input()
	before := j.input()
	d := Decide(in)
	if !reflect.DeepEqual(in, before) {
		return 0, fmt.Errorf("the input was changed")
	}
	if !reflect.DeepEqual(d, Decide(before)) {
		return 0, fmt.Errorf("the same input gave another decision")
	}
	if !d.Next.IsZero() && !d.Next.After(in.Now) {
		return 0, fmt.Errorf("asks to look again in the past: %s", d.Next)
	}
	keys := map[string]bool{}
	for _, a := range d.Actions {
		if keys[a.Key()] {
			return 0, fmt.Errorf("two actions for %s", a.Key())
		}
		keys[a.Key()] = true
		if err := j.allowed(a); err != nil {
			return 0, fmt.Errorf("%s: %w", describe(a), err)
		}
		for k := range j.busy {
			in.Seen.Busy[k] = true
		}
		in.Seen.Busy[a.Key()] = true
	}
	for _, a := range Decide(in).Actions {
		if !a.ending() {
			return 0, fmt.Errorf("%s although everything is under way", describe(a))
		}
	}
	if err := j.report(&d.Status); err != nil {
		return 0, err
	}
	j.next = d.Next
	for _, a := range d.Actions {
		if _, under := j.busy[a.Key()]; !under {
			began++
			j.log = append(j.log, fmt.Sprintf("%-8s%s", j.now.Sub(epoch), describe(a)))
		}
		j.begin(a)
	}
	return began, nil
}

func (j *judge) over() bool {
	return j.pod.DeletionTimestamp != nil || terminal(j.last.Phase) || j.refused != nil || j.ended != nil
}

// allowed says what is wrong with an action in this world.
func (j *judge) allowed(a Action) error {
	switch a.Kind {
	case CreateSandbox:
		for _, s := range j.sandboxes {
			if s.Attempt != a.Attempt {
				return fmt.Errorf("sandbox %d is still there", s.Attempt)
			}
		}
		for _, c := range j.containers {
			if c.SandboxAttempt >= a.Attempt && len(j.sandboxes) == 0 {
				return fmt.Errorf("attempt was used before, by %s", c.ID)
			}
			if c.State == Running {
				return fmt.Errorf("%s still runs", c.ID)
			}
		}
	case RemoveSandbox:
		for _, c := range j.containers {
			if c.SandboxID == a.ID && (c.State == Running || c.State == Created) {
				return fmt.Errorf("%s is still there", c.ID)
			}
		}
	case CreateContainer:
		if err := j.mayCreate(a); err != nil {
			return err
		}
	case StartContainer:
		if err := j.mayStart(a); err != nil {
			return err
		}
	case RemoveContainer:
		c := j.container(a.ID)
		if c == nil || c.State == Running {
			return fmt.Errorf("it runs, or is not there: %v", c)
		}
		if c.State == Exited && !j.endReported(c) {
			return fmt.Errorf("its end was not reported")
		}
	case PostStart, PreStop:
		if c := j.container(a.ID); c == nil || c.State != Running {
			return fmt.Errorf("it does not run: %v", c)
		} else if a.Kind == PostStart && j.over() {
			return fmt.Errorf("the Pod is at its end")
		} else if a.Kind == PreStop && c.PreStop.Result != "" {
			return fmt.Errorf("it was run before")
		}
	case StopContainer:
		if c := j.container(a.ID); j.hooks && !j.isEphemeral(c.Name) && c.PreStop.Result == "" && a.Deadline.Sub(j.now) > minGrace && (c.Name[0] != 'i' || j.isSidecar(c.Name)) {
			return fmt.Errorf("without its preStop hook")
		}
		if a.Deadline.Before(j.now) {
			return fmt.Errorf("deadline in the past")
		}
	case Resize:
		if j.over() || len(j.sandboxes) == 0 || j.sandboxes[len(j.sandboxes)-1].State != Running {
			return fmt.Errorf("there is nothing to be resized")
		}
	case RemoveVolumes:
		if !terminal(j.last.Phase) || len(j.sandboxes) > 0 || slices.ContainsFunc(j.containers, func(c Container) bool { return c.State == Running || c.State == Created }) {
			return fmt.Errorf("they may still be used")
		}
	case Finish:
		if len(j.containers)+len(j.sandboxes) > 0 {
			return fmt.Errorf("something is still there")
		}
	}
	if j.over() && (a.Kind == CreateSandbox || a.Kind == CreateContainer || a.Kind == StartContainer || a.Kind == PullImage) {
		return fmt.Errorf("the Pod is at its end")
	}
	return nil
}

// endReported says whether the last status has the end of this attempt, or a later
// attempt.
func (j *judge) endReported(c *Container) bool {
	for _, s := range slices.Concat(j.last.InitContainerStatuses, j.last.ContainerStatuses, j.last.EphemeralContainerStatuses) {
		if s.Name != c.Name {
			continue
		}
		now, before := s.State.Terminated, s.LastTerminationState.Terminated
		return int(s.RestartCount) > c.Attempt || now != nil && now.ContainerID == containerID(c.ID) ||
			before != nil && before.ContainerID == containerID(c.ID)
	}
	return false
}

func (j *judge) mayCreate(a Action) error {
	for _, c := range j.containers {
		if c.Name == a.Container && (c.State == Running || c.State == Created) {
			return fmt.Errorf("%s is %s", c.ID, c.State)
		}
		if c.Name == a.Container && c.Attempt >= a.Attempt {
			return fmt.Errorf("attempt was used before")
		}
	}
	if j.isEphemeral(a.Container) && a.Attempt > 0 {
		return fmt.Errorf("an ephemeral container is started once")
	}
	for _, list := range [][]corev1.ContainerStatus{j.last.InitContainerStatuses, j.last.ContainerStatuses, j.last.EphemeralContainerStatuses} {
		for _, s := range list {
			if s.Name == a.Container && (s.State.Running != nil || s.State.Terminated != nil) && a.Attempt <= int(s.RestartCount) {
				return fmt.Errorf("attempt was reported before")
			}
		}
	}
	if s := j.sandboxByID(a.SandboxID); s == nil || s.State == Exited || s.State == Unknown {
		return fmt.Errorf("no sandbox to join")
	}
	return nil
}

func (j *judge) mayStart(a Action) error {
	c := j.container(a.ID)
	if c == nil || c.State != Created {
		return fmt.Errorf("it is not there to be started: %v", c)
	}
	if s := j.sandboxByID(c.SandboxID); s == nil || s.State != Running {
		return fmt.Errorf("its sandbox is not ready")
	}
	if j.live(a.Container) != nil {
		return fmt.Errorf("another instance runs")
	}
	if j.isEphemeral(a.Container) {
		return nil
	}
	for _, other := range j.containers {
		if j.isEphemeral(other.Name) {
			continue
		}
		if other.Round != c.Round && (other.State == Running || other.Round > c.Round) {
			return fmt.Errorf("%s is of another round", other.ID)
		}
	}
	isApp := true
	for _, i := range j.pod.Spec.InitContainers {
		if i.Name == a.Container {
			isApp = false
			break
		}
		if err := j.passed(i, c); err != nil {
			return err
		}
	}
	if isApp {
		return nil
	}
	for _, i := range j.pod.Spec.InitContainers {
		if r := j.live(i.Name); r != nil && !isSidecar(&i) && (i.Name != a.Container) && !j.isSidecar(a.Container) {
			return fmt.Errorf("init container %s runs", r.ID)
		}
	}
	return nil
}

// passed says whether an init container did its work in the sandbox and the round of
// the next container. A sidecar may be down for the moment once a later container ran, and
// the record of an init container be gone.
func (j *judge) passed(i corev1.Container, next *Container) error {
	later := false // containers after i
	for _, spec := range slices.Concat(j.pod.Spec.InitContainers, j.pod.Spec.Containers) {
		for _, c := range j.containers {
			switch {
			case c.Name != spec.Name || c.SandboxID != next.SandboxID || c.Round != next.Round:
			case later && (c.State == Running || c.State == Exited),
				c.Name == i.Name && !isSidecar(&i) && c.State == Exited && c.ExitCode == 0,
				c.Name == i.Name && isSidecar(&i) && c.State == Running:
				return nil
			}
		}
		later = later || spec.Name == i.Name
	}
	return fmt.Errorf("init container %s has not passed", i.Name)
}

func (j *judge) isSidecar(name string) bool {
	for _, i := range j.pod.Spec.InitContainers {
		if i.Name == name {
			return isSidecar(&i)
		}
	}
	return false
}

func (j *judge) isEphemeral(name string) bool {
	for _, e := range j.pod.Spec.EphemeralContainers {
		if e.Name == name {
			return true
		}
	}
	return false
}

func isSidecar(c *corev1.Container) bool {
	return c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
}

func (j *judge) sandboxByID(id string) *Sandbox {
	for i := range j.sandboxes {
		if j.sandboxes[i].ID == id {
			return &j.sandboxes[i]
		}
	}
	return nil
}

// report checks a status against the one before and takes it over.
func (j *judge) report(s *corev1.PodStatus) error {
	last := &j.last
	if terminal(last.Phase) && (s.Phase != last.Phase || s.Reason != last.Reason) {
		return fmt.Errorf("terminal phase changed from %s to %s", last.Phase, s.Phase)
	}
	if !terminal(last.Phase) && terminal(s.Phase) && j.ended != nil && s.Reason != j.ended.Reason {
		return fmt.Errorf("the node ended it for %s, and it is %s for %q", j.ended.Reason, s.Phase, s.Reason)
	}
	if s.Phase == "" {
		return fmt.Errorf("no phase")
	}
	for _, c := range j.containers {
		if terminal(s.Phase) && c.State == Running {
			return fmt.Errorf("phase %s while %s runs", s.Phase, c.ID)
		}
	}
	for _, pair := range [][2][]corev1.ContainerStatus{
		{last.InitContainerStatuses, s.InitContainerStatuses}, {last.ContainerStatuses, s.ContainerStatuses},
		{last.EphemeralContainerStatuses, s.EphemeralContainerStatuses},
	} {
		for _, now := range pair[1] {
			if err := j.sane(&now); err != nil {
				return fmt.Errorf("status of %s: %w", now.Name, err)
			}
			if old := findStatus(pair[0], now.Name); old != nil && now.RestartCount < old.RestartCount {
				return fmt.Errorf("restart count of %s fell from %d to %d", now.Name, old.RestartCount, now.RestartCount)
			}
		}
	}
	for _, now := range s.Conditions {
		for _, old := range last.Conditions {
			if old.Type == now.Type && (old.Status == now.Status) != old.LastTransitionTime.Equal(&now.LastTransitionTime) &&
				!now.LastTransitionTime.Equal(ptr(apiTime(j.now))) {
				return fmt.Errorf("condition %s: transition time does not fit", now.Type)
			}
			if old.Type == now.Type && old.Status == now.Status && !old.LastTransitionTime.Equal(&now.LastTransitionTime) {
				return fmt.Errorf("condition %s: transition time changed without the status", now.Type)
			}
		}
	}
	j.last = *s.DeepCopy()
	return nil
}

// sane checks a container's status in itself and against what runs.
func (j *judge) sane(s *corev1.ContainerStatus) error {
	states := 0
	for _, set := range []bool{s.State.Running != nil, s.State.Waiting != nil, s.State.Terminated != nil} {
		if set {
			states++
		}
	}
	running := j.live(s.Name)
	switch {
	case states != 1:
		return fmt.Errorf("%d states", states)
	case running != nil && s.State.Waiting != nil && j.hooks && running.PostStart.Result != ProbeSucceeded:
	case (running != nil) != (s.State.Running != nil):
		return fmt.Errorf("running is %v, reported %v", running, s.State)
	case s.State.Waiting != nil && s.State.Waiting.Reason == "":
		return fmt.Errorf("waits without a reason")
	case s.LastTerminationState.Terminated != nil && s.State.Terminated != nil && s.State.Terminated.ContainerID != "" &&
		s.LastTerminationState.Terminated.ContainerID == s.State.Terminated.ContainerID:
		return fmt.Errorf("the same end twice")
	}
	return nil
}

func ptr[T any](v T) *T { return &v }
