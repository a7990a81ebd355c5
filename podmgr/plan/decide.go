// SPDX-License-Identifier: Apache-2.0

package plan

// Decide says what to do for a Pod now, what to report of it, and when to look
// again although nothing happened. It changes nothing of its input.
//
// The caller carries the actions out, at the same time where it likes, reports the
// status, and calls again, with that status as Last, when anything changed: an
// action came to its end, a container ended, the Pod's spec or the time (Next).
func Decide(in Input) Decision {
	v := newView(&in)
	d := newDraft(&in)
	ending := v.ending()
	if ending {
		v.shutDown(d)
	} else {
		v.bringUp(d)
		v.tidy(d)
		d.wake(v.activeDeadline())
	}
	status := v.report(ending)
	v.announce(d, &status)
	return Decision{Actions: d.actions, Status: v.told(status), Events: d.events, Next: d.next}
}

// ending says whether nothing of the Pod is to be started any more: it is deleted,
// was refused, the node ends it, its time is over, or its containers came to their end.
func (v *view) ending() bool {
	if v.deleted() || v.ended() || v.Refused != nil || terminal(v.Last.Phase) || v.overdue() {
		return true
	}
	s := v.report(false)
	return v.outcome(&s) != ""
}
