// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"time"

	corev1 "k8s.io/api/core/v1"
)

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
// log can be read. What is removed was reported before, and nothing else is going
// on: no start waits for the disk.
func (v *view) tidy(d *draft) {
	if len(d.actions) > 0 || len(v.Seen.Busy) > 0 {
		return
	}
	v.removeRecords(d, func(m *member, c *Container) bool { return c == m.ran || c == m.before && m.running() })
}

// rest is how a Pod lies that is over and that nobody deletes: without volumes, as in
// the kubelet (SyncTerminatedPod), and with the last record of each container, or none
// where the node needs the room (containerGC.DeleteAllUnusedContainers).
func (v *view) rest(d *draft) {
	if v.Seen.Volumes {
		d.do(Action{Kind: RemoveVolumes})
	}
	v.removeRecords(d, func(m *member, c *Container) bool { return c == m.ran && !v.Reclaim })
}

// removeRecords removes those that were reported, but for those that are kept.
func (v *view) removeRecords(d *draft, keep func(*member, *Container) bool) {
	for _, m := range v.members() {
		for _, c := range m.records() {
			if !keep(m, c) && reported(m, c) {
				v.remove(d, c)
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

// soon is when to look again for what this very decision's report makes possible.
const soon = time.Millisecond

// removeReported removes an ended attempt if its end was reported. If not, it is
// by this decision.
func (v *view) removeReported(d *draft, m *member, c *Container) {
	if reported(m, c) {
		v.remove(d, c)
	} else {
		d.wake(v.Now.Add(soon))
	}
}

// reported says whether the end of an attempt stands in the last status, or a later
// attempt does.
func reported(m *member, c *Container) bool {
	if m.last == nil || c.State == Running {
		return false
	}
	if int(m.last.RestartCount) > c.Attempt {
		return true
	}
	for _, t := range []*corev1.ContainerStateTerminated{m.last.State.Terminated, m.last.LastTerminationState.Terminated} {
		if t != nil && t.ContainerID == containerID(c.ID) {
			return true
		}
	}
	return false
}

func (v *view) remove(d *draft, c *Container) {
	d.do(Action{Kind: RemoveContainer, Container: c.Name, ID: c.ID, Attempt: c.Attempt})
}
