// SPDX-License-Identifier: Apache-2.0

package plan

import corev1 "k8s.io/api/core/v1"

// clearJunk removes what is of no use: half-made containers, those made for another
// sandbox or from an older spec, and containers that the spec does not have.
func (v *view) clearJunk(d *draft) {
	for _, m := range v.members() {
		for _, c := range m.junk {
			v.remove(d, c)
		}
	}
	for _, c := range v.strangers {
		if c.State == Running {
			v.stop(d, c, v.Now.Add(v.grace()), "")
		} else {
			v.remove(d, c)
		}
	}
}

// tidy keeps one ended attempt of each container, as the kubelet does, so that its
// log can be read. What is removed was reported before.
func (v *view) tidy(d *draft) {
	for _, m := range v.members() {
		if !d.free(m.key()) {
			continue
		}
		for _, c := range m.records() {
			if c != m.ran && (c != m.before || !m.running()) {
				v.removeReported(d, m, c)
			}
		}
	}
}

// records are the attempts that were started, oldest first.
func (m *member) records() []*Container {
	var all []*Container
	for i := len(m.old) - 1; i >= 0; i-- {
		all = append(all, m.old[i])
	}
	for _, c := range []*Container{m.before, m.ran} {
		if c != nil {
			all = append(all, c)
		}
	}
	return all
}

// removeReported removes an ended attempt whose end stands in the last status, or
// that of a later attempt does.
func (v *view) removeReported(d *draft, m *member, c *Container) {
	if m.last == nil || c.State == Running {
		return
	}
	if int(m.last.RestartCount) > c.Attempt {
		v.remove(d, c)
		return
	}
	id := containerID(c.ID)
	for _, t := range []*corev1.ContainerStateTerminated{m.last.State.Terminated, m.last.LastTerminationState.Terminated} {
		if t != nil && t.ContainerID == id {
			v.remove(d, c)
			return
		}
	}
}

func (v *view) remove(d *draft, c *Container) {
	d.do(Action{Kind: RemoveContainer, Container: c.Name, ID: c.ID, Attempt: c.Attempt})
}
