// SPDX-License-Identifier: Apache-2.0

package plan

import corev1 "k8s.io/api/core/v1"

// Ephemeral containers are added to a running Pod to look at it. They are started
// whenever the Pod has a sandbox, once and never again; they do not count for the Pod's
// phase or readiness, keep nothing alive, and end with the Pod.

// startedOnce says whether an ephemeral container had its only start.
func startedOnce(m *member) bool {
	if m.ran != nil {
		return true
	}
	l := m.last
	return l != nil && (l.State.Running != nil || l.State.Terminated != nil || l.LastTerminationState.Terminated != nil)
}

// bringEphemerals starts those that were not started yet. They wait for nobody but
// the sandbox: they are made when everything that they may look into is there.
func (v *view) bringEphemerals(d *draft) {
	if !v.ready() {
		return
	}
	for _, m := range v.ephemerals {
		v.bring(d, m)
	}
}

// ephemeralStatus is what is reported of an ephemeral container: no readiness and no
// resources, for it has none.
func (v *view) ephemeralStatus(m *member, ending bool) corev1.ContainerStatus {
	s := v.status(m, ending)
	s.Started, s.Ready, s.Resources, s.AllocatedResources = nil, false, nil, nil
	return s
}
