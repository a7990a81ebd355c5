// SPDX-License-Identifier: Apache-2.0

package plan

const sandboxChanged = "Pod sandbox changed, it will be killed and re-created."

// keepSandbox sees to a sandbox and says whether there is one to work in. While it
// is being made (Created) containers can be made, too, but not started. Images that
// are needed first are pulled meanwhile.
func (v *view) keepSandbox(d *draft) bool {
	if len(v.outdated) > 0 {
		v.removeSandbox(d, v.outdated[0])
		return false
	}
	if v.stopStrays(d) {
		return false
	}
	switch {
	case v.sandbox == nil:
		d.do(Action{Kind: CreateSandbox, Attempt: v.nextSandbox()})
		turn, _ := v.order()
		for _, m := range turn {
			if v.wanted(m) && !v.waits(d, m) && !v.imageReady(m) {
				v.pull(d, m)
			}
		}
		return false
	case v.sandbox.State == Created:
		d.do(Action{Kind: CreateSandbox, Attempt: v.sandbox.Attempt, ID: v.sandbox.ID})
		return true
	case v.sandbox.State == Running:
		return true
	default:
		v.removeSandbox(d, v.sandbox)
		return false
	}
}

// stopStrays stops containers that run without the sandbox they belong to, and says
// whether there are any.
func (v *view) stopStrays(d *draft) (any bool) {
	for _, m := range v.members() {
		if m.running() && (v.sandbox == nil || m.ran.SandboxID != v.sandbox.ID) {
			v.stop(d, m.ran, v.Now.Add(v.grace()), "")
			any = true
		}
	}
	return any
}

// nextSandbox is the first attempt that was never used. Containers know theirs
// after the sandbox is gone.
func (v *view) nextSandbox() int {
	next := 0
	for _, s := range v.Seen.Sandboxes {
		next = max(next, s.Attempt+1)
	}
	for _, c := range v.Seen.Containers {
		next = max(next, c.SandboxAttempt+1)
	}
	return next
}

// removeSandbox removes a sandbox that is of no use any more, once nothing runs in
// it.
func (v *view) removeSandbox(d *draft, s *Sandbox) {
	if !v.stopIn(d, s.ID) {
		return
	}
	d.do(Action{Kind: RemoveSandbox, ID: s.ID, Attempt: s.Attempt, Reason: "SandboxChanged", Message: sandboxChanged})
}

// stopIn stops what runs in a sandbox that is lost and says whether nothing does.
func (v *view) stopIn(d *draft, sandbox string) (quiet bool) {
	quiet = true
	for _, m := range v.members() {
		if m.running() && m.ran.SandboxID == sandbox {
			v.stop(d, m.ran, v.Now.Add(v.grace()), "")
			quiet = false
		}
		for _, c := range m.junk {
			quiet = quiet && c.SandboxID != sandbox
		}
		quiet = quiet && !v.Seen.Busy[m.key()]
	}
	return quiet
}

// startsOver says whether an init container's spec changed after it ran in this
// sandbox. Then the whole Pod starts over, whatever its restart policy: containers
// are stopped, then the records of sidecars and apps removed, so that nothing of
// this run counts any more, then the sandbox, with which the reason goes away.
func (v *view) startsOver() bool {
	if v.sandbox == nil {
		return false
	}
	for _, m := range v.inits {
		if m.role == initRole && m.ran != nil && m.ran.SandboxID == v.sandbox.ID && v.changed(m.ran) {
			return true
		}
	}
	return false
}

func (v *view) startOver(d *draft) {
	why := ""
	for _, m := range v.inits {
		if m.role == initRole && m.ran != nil && v.changed(m.ran) {
			why = "Init container " + m.spec.Name + " definition changed, Pod will be restarted"
			break
		}
	}
	quiet := v.stopOrdered(d, v.Now.Add(v.grace()), why)
	if !quiet {
		return
	}
	clean := true
	for _, m := range v.members() {
		clean = clean && len(m.junk) == 0 && m.made == nil && !v.Seen.Busy[m.key()]
		if m.made != nil {
			v.remove(d, m.made)
		}
		if m.role == initRole || m.role == ephemeralRole {
			continue
		}
		for _, c := range m.records() {
			v.removeReported(d, m, c)
			clean = false
		}
	}
	if clean {
		d.do(Action{Kind: RemoveSandbox, ID: v.sandbox.ID, Attempt: v.sandbox.Attempt, Reason: "SandboxChanged", Message: sandboxChanged})
	}
}
