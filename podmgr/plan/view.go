// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"sort"

	corev1 "k8s.io/api/core/v1"
)

// role is a container's part in the Pod's life.
type role int

const (
	initRole    role = iota // runs to its end before the next one
	sidecarRole             // an init container with restartPolicy Always
	appRole
	ephemeralRole // for debugging: started once, counts for nothing (ephemeral.go)
)

// member is one container of the spec together with what is there of it.
type member struct {
	spec *corev1.Container
	role role
	// made is created for the next start, by the desired spec and in the sandbox in
	// use; nil if there is none.
	made *Container
	// ran is the newest attempt that was started, in whatever sandbox; before is
	// the one that preceded it.
	ran, before *Container
	// old are attempts before those; junk is of no use: half made, made for another
	// sandbox or by another spec.
	old, junk []*Container
	// last is what was reported last, nil if nothing.
	last *corev1.ContainerStatus
}

func (m *member) key() string { return Action{Kind: CreateContainer, Container: m.spec.Name}.Key() }

func (m *member) running() bool { return m.ran != nil && m.ran.State == Running }

// view is the input, arranged for deciding.
type view struct {
	*Input
	// sandbox is the newest attempt, in whatever state; nil if there is none.
	sandbox *Sandbox
	// outdated are older sandboxes that are still there.
	outdated   []*Sandbox
	inits      []*member // init containers and sidecars, in order
	apps       []*member
	ephemerals []*member
	// round is the one that containers are made for; see round.go. restarting: the one
	// before is being ended, or nothing of this one is there yet.
	round      int
	restarting bool
	// strangers are containers that the spec does not have.
	strangers []*Container
}

func newView(in *Input) *view {
	v := &view{Input: in}
	for i := range in.Seen.Sandboxes {
		s := &in.Seen.Sandboxes[i]
		switch {
		case v.sandbox == nil:
			v.sandbox = s
		case s.Attempt >= v.sandbox.Attempt:
			v.outdated, v.sandbox = append(v.outdated, v.sandbox), s
		default:
			v.outdated = append(v.outdated, s)
		}
	}
	byName := map[string][]*Container{}
	for i := range in.Seen.Containers {
		c := &in.Seen.Containers[i]
		byName[c.Name] = append(byName[c.Name], c)
	}
	v.findRound(byName)
	add := func(spec *corev1.Container, r role, statuses []corev1.ContainerStatus) *member {
		m := &member{spec: spec, role: r, last: findStatus(statuses, spec.Name)}
		v.sortOut(m, byName[spec.Name])
		delete(byName, spec.Name)
		return m
	}
	for i := range in.Pod.Spec.InitContainers {
		c := &in.Pod.Spec.InitContainers[i]
		r := initRole
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			r = sidecarRole
		}
		v.inits = append(v.inits, add(c, r, in.Last.InitContainerStatuses))
	}
	for i := range in.Pod.Spec.Containers {
		v.apps = append(v.apps, add(&in.Pod.Spec.Containers[i], appRole, in.Last.ContainerStatuses))
	}
	for i := range in.Pod.Spec.EphemeralContainers {
		c := corev1.Container(in.Pod.Spec.EphemeralContainers[i].EphemeralContainerCommon)
		v.ephemerals = append(v.ephemerals, add(&c, ephemeralRole, in.Last.EphemeralContainerStatuses))
	}
	for i := range in.Seen.Containers {
		if c := &in.Seen.Containers[i]; byName[c.Name] != nil {
			v.strangers = append(v.strangers, c)
		}
	}
	return v
}

// sortOut assigns the attempts at a container to their places in its member.
func (v *view) sortOut(m *member, found []*Container) {
	sort.SliceStable(found, func(i, j int) bool { return found[i].Attempt > found[j].Attempt })
	for _, c := range found {
		switch {
		case !wasStarted(c, m.last):
			if c.State == Created && m.made == nil && m.ran == nil && v.current(c) && !v.changed(c) && !v.wrongSize(m.spec, c) {
				m.made = c
			} else {
				m.junk = append(m.junk, c)
			}
		case m.ran == nil:
			m.ran = c
		case m.before == nil:
			m.before = c
		default:
			m.old = append(m.old, c)
		}
	}
}

// wrongSize says whether a container was made with other resources than are allocated by
// now.
func (v *view) wrongSize(spec *corev1.Container, c *Container) bool {
	misfit, _ := Misfit(v.Pod, spec, c.Resources)
	return misfit
}

// startErrorExit is the exit code of a container that could not be started.
const startErrorExit = 128

// wasStarted says whether this attempt ever ran or was tried to. One that ended
// was not if it was killed while it waited for its start. One whose state is not
// known was if it has a start time or was reported as running.
func wasStarted(c *Container, last *corev1.ContainerStatus) bool {
	switch c.State {
	case Created:
		return false
	case Exited:
		return !c.StartedAt.IsZero() || c.ExitCode == startErrorExit
	case Unknown:
		return !c.StartedAt.IsZero() ||
			last != nil && last.ContainerID == containerID(c.ID) && (last.State.Running != nil || last.State.Terminated != nil)
	default:
		return true
	}
}

// current says whether the container belongs to the sandbox in use and to the round.
func (v *view) current(c *Container) bool {
	return v.sandbox != nil && c.SandboxID == v.sandbox.ID && c.Round == v.round && v.usable()
}

// usable says whether the newest sandbox can take containers, now or when it is
// ready.
func (v *view) usable() bool {
	return v.sandbox != nil && (v.sandbox.State == Running || v.sandbox.State == Created)
}

// ready says whether containers may be started.
func (v *view) ready() bool {
	return v.sandbox != nil && v.sandbox.State == Running && len(v.outdated) == 0
}

// changed says whether a container was made from another spec than the desired.
func (v *view) changed(c *Container) bool {
	want, known := v.Hashes[c.Name]
	return known && c.SpecHash != want
}

// members are all of them, in the spec's order: also the ephemeral ones, which have to
// be ended and removed like the others.
func (v *view) members() []*member { return append(v.regular(), v.ephemerals...) }

// regular are those that the Pod is made of.
func (v *view) regular() []*member {
	all := make([]*member, 0, len(v.inits)+len(v.apps)+len(v.ephemerals))
	return append(append(all, v.inits...), v.apps...)
}

func findStatus(list []corev1.ContainerStatus, name string) *corev1.ContainerStatus {
	for i := range list {
		if list[i].Name == name {
			return &list[i]
		}
	}
	return nil
}

func containerID(id string) string { return "containerd://" + id }
