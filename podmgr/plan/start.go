// SPDX-License-Identifier: Apache-2.0

package plan

import "time"

// bringUp does what the Pod needs to run: a sandbox, then the init containers one
// after another, then the app containers at once, and keeps them running.
func (v *view) bringUp(d *draft) {
	v.clearJunk(d)
	if v.startsOver() {
		v.startOver(d)
		return
	}
	if !v.keepSandbox(d) {
		return
	}
	if v.endRound(d) {
		v.bringEphemerals(d)
		return
	}
	turn, ahead := v.order()
	for _, m := range turn {
		v.bring(d, m)
	}
	v.bringEphemerals(d)
	v.resize(d)
	v.prepareAhead(d, turn, ahead)
}

// appRan says whether an app container was started in this sandbox.
func (v *view) appRan() bool {
	for _, m := range v.apps {
		if m.ran != nil && v.current(m.ran) {
			return true
		}
	}
	return false
}

// passed says whether the init container after this one may begin, going by this one
// alone.
func (v *view) passed(m *member) bool {
	if m.role == sidecarRole {
		return started(m) && v.current(m.ran)
	}
	return v.succeeded(m)
}

// past says whether initialisation went on beyond an init container: a later one or an
// app was started in this sandbox. That stands in for a record that is no longer there,
// and holds when a sidecar ends.
func (v *view) past(m *member) bool {
	for i := len(v.inits) - 1; i >= 0 && v.inits[i] != m; i-- {
		if later := v.inits[i].ran; later != nil && v.current(later) {
			return true
		}
	}
	return v.appRan()
}

// order is whose turn it is, and who comes next and might be made ahead.
func (v *view) order() (turn, ahead []*member) {
	for i, m := range v.inits {
		on := v.past(m) || v.passed(m)
		if m.role == sidecarRole || !on {
			turn = append(turn, m)
		}
		if !on {
			return turn, append(append([]*member{}, v.inits[i+1:]...), v.apps...)
		}
	}
	return append(turn, v.apps...), nil
}

// bring takes the next step for a container whose turn it is.
func (v *view) bring(d *draft, m *member) {
	switch {
	case m.running():
		v.look(d, m)
	case !v.wanted(m):
	case m.made != nil:
		if v.ready() {
			d.do(Action{Kind: StartContainer, Container: m.spec.Name, ID: m.made.ID, Attempt: m.made.Attempt, SandboxID: v.sandbox.ID})
		}
	case v.waits(d, m):
	case !v.imageReady(m):
		v.pull(d, m)
	case v.ready() || v.usable() && v.mayPrecedeSandbox(m):
		v.create(d, m)
	}
}

// look stops a running container that has to be restarted, and sees to its postStart
// hook.
func (v *view) look(d *draft, m *member) {
	why := v.unhealthy(m)
	if m.role == initRole || m.role == ephemeralRole {
		return
	}
	if _, restart := v.misfit(m); why == "" && restart {
		v.replace(d, m)
		return
	}
	if why == "" {
		if settingUp(m) {
			v.setUp(d, m)
		}
		return
	}
	if m.role == appRole && (v.changed(m.ran) || restartable(m.spec, &v.Pod.Spec)) {
		why += ", will be restarted"
	}
	v.stop(d, m.ran, v.Now.Add(v.probeGrace(m)), why)
}

// waits says whether the container's start has to wait for its back-off, and sees
// to it that it is looked at again.
func (v *view) waits(d *draft, m *member) bool {
	until, _ := v.backingOff(m)
	if until.IsZero() {
		return false
	}
	d.wake(until)
	d.wake(m.ran.FinishedAt.Add(settle))
	return true
}

// create makes the next attempt at a container, once nothing half made or outdated
// is in its way.
func (v *view) create(d *draft, m *member) {
	if len(m.junk) > 0 {
		return
	}
	_, record := v.backOff(m)
	d.do(Action{Kind: CreateContainer, Container: m.spec.Name, Attempt: m.attempt(),
		SandboxID: v.sandbox.ID, Round: v.round, BackOff: record, Image: m.spec.Image})
}

// stop ends a running container, after its preStop hook. An event of the reason
// Killing goes with it.
func (v *view) stop(d *draft, c *Container, deadline time.Time, message string) {
	kind := StopContainer
	if v.preStopDue(c, deadline) {
		kind = PreStop
	}
	d.do(stopping(kind, c, afterPreStop(c, deadline), message))
}

// replace stops a container whose resources cannot be changed while it runs. It is
// started anew whatever its restart policy says, so that has to be on record.
func (v *view) replace(d *draft, m *member) {
	deadline, kind := v.Now.Add(v.grace()), StopContainer
	if v.preStopDue(m.ran, deadline) {
		kind = PreStop
	}
	a := stopping(kind, m.ran, afterPreStop(m.ran, deadline), "Container "+m.spec.Name+" resize requires restart")
	a.Replace = true
	d.do(a)
}

func stopping(kind Kind, c *Container, deadline time.Time, message string) Action {
	if message == "" {
		message = "Stopping container " + c.Name
	}
	return Action{Kind: kind, Container: c.Name, ID: c.ID, Attempt: c.Attempt, Deadline: deadline, Reason: "Killing", Message: message}
}

// grace is the Pod's termination grace period.
func (v *view) grace() time.Duration {
	if s := v.Pod.Spec.TerminationGracePeriodSeconds; s != nil {
		return max(Seconds(*s), minGrace)
	}
	return 30 * time.Second
}

// probeGrace is the grace period of a container that is stopped for a failed probe
// or for a changed spec.
func (v *view) probeGrace(m *member) time.Duration {
	p := m.spec.LivenessProbe
	if m.spec.StartupProbe != nil && m.ran.Probes.Startup == ProbeFailed {
		p = m.spec.StartupProbe
	}
	if v.changed(m.ran) || p == nil || p.TerminationGracePeriodSeconds == nil {
		return v.grace()
	}
	return max(Seconds(*p.TerminationGracePeriodSeconds), minGrace)
}
