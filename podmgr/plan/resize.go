// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"
)

// A Pod's cpu and memory may be changed while it runs (KEP-1287). The caller decides
// whether the node has room and then gives a Pod with the new resources: Input.Pod has
// what is allocated. What the cgroups have is seen (Container.Resources, Sandbox.Size),
// and as long as it differs the resize is in progress.

// The kubelet's reasons of events.
const (
	resizeStarted   = "ResizeStarted"
	resizeCompleted = "ResizeCompleted"
	resizeError     = "ResizeError"
)

// PendingResize is a change of a Pod's resources for which there is no room.
type PendingResize struct {
	// Desired is the Pod with the resources that were asked for.
	Desired *corev1.Pod
	// Reason is Deferred or Infeasible.
	Reason, Message string
}

var sized = [...]corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory}

// Given is what a container's cgroup is given of cpu and memory: its own requests and
// limits, and where it has no limit that of the Pod.
func Given(pod *corev1.Pod, c *corev1.Container) corev1.ResourceRequirements {
	given := corev1.ResourceRequirements{Requests: corev1.ResourceList{}, Limits: corev1.ResourceList{}}
	for _, name := range sized {
		if q, ok := c.Resources.Requests[name]; ok {
			given.Requests[name] = q
		}
		if q, ok := c.Resources.Limits[name]; ok {
			given.Limits[name] = q
		} else if r := pod.Spec.Resources; r != nil {
			if q, ok := r.Limits[name]; ok {
				given.Limits[name] = q
			}
		}
	}
	return given
}

// Misfit says whether a running container's cgroup has other resources than it is to
// have, and whether the container has to be restarted for the change.
func Misfit(pod *corev1.Pod, c *corev1.Container, has *corev1.ResourceRequirements) (misfit, restart bool) {
	if has == nil {
		return false, false
	}
	want := Given(pod, c)
	for _, name := range sized {
		request, limit := want.Requests[name], want.Limits[name]
		if request.Equal(has.Requests[name]) && limit.Equal(has.Limits[name]) {
			continue
		}
		misfit = true
		for _, p := range c.ResizePolicy {
			restart = restart || p.ResourceName == name && p.RestartPolicy == corev1.RestartContainer
		}
	}
	return misfit, restart
}

// misfit is Misfit of what runs of a member. Ephemeral containers have no resources.
func (v *view) misfit(m *member) (misfit, restart bool) {
	if m.role == ephemeralRole || !m.running() {
		return false, false
	}
	return Misfit(v.Pod, m.spec, m.ran.Resources)
}

// outsized says whether the Pod's own cgroup has other values than it is to have.
func (v *view) outsized() bool {
	return v.ready() && v.Size != "" && v.sandbox.Size != v.Size
}

// resize brings the cgroups to what is allocated. Containers that have to be restarted
// for it are stopped by look.
func (v *view) resize(d *draft) {
	due := v.outsized()
	for _, m := range v.regular() {
		misfit, restart := v.misfit(m)
		due = due || misfit && !restart
	}
	if due && v.ready() {
		d.do(Action{Kind: Resize})
	}
}

// resizing says whether a resize is in progress.
func (v *view) resizing() bool {
	due := v.outsized()
	for _, m := range v.regular() {
		misfit, _ := v.misfit(m)
		due = due || misfit
	}
	return due
}

// resizeConditions are there only while there is something to tell.
func (v *view) resizeConditions(phase corev1.PodPhase) []corev1.PodCondition {
	if terminal(phase) {
		return nil
	}
	var all []corev1.PodCondition
	if p := v.Pending; p != nil {
		all = append(all, v.resizeCondition(corev1.PodResizePending, p.Reason, p.Message, p.Desired.Generation))
	}
	if v.resizing() {
		reason, message := "", ""
		if f, failed := v.Seen.Failures[Action{Kind: Resize}.Key()]; failed {
			reason, message = corev1.PodReasonError, f.Message
		}
		generation := v.AllocatedGeneration
		if old := v.lastCondition(corev1.PodResizeInProgress); generation == 0 && old != nil {
			generation = old.ObservedGeneration
		}
		if generation == 0 {
			generation = v.Pod.Generation
		}
		all = append(all, v.resizeCondition(corev1.PodResizeInProgress, reason, message, generation))
	}
	return all
}

// resizeCondition has the generation that the resize is for. Its time is when it came,
// whatever its reason became since: times change with the status alone.
func (v *view) resizeCondition(t corev1.PodConditionType, reason, message string, generation int64) corev1.PodCondition {
	c := corev1.PodCondition{
		Type: t, Status: corev1.ConditionTrue, Reason: reason, Message: message,
		ObservedGeneration: generation, LastTransitionTime: apiTime(v.Now),
	}
	if old := v.lastCondition(t); old != nil {
		c.LastTransitionTime = old.LastTransitionTime
	}
	return c
}

// announceResize tells of resizes when their conditions come, change and go.
func (v *view) announceResize(d *draft, s *corev1.PodStatus) {
	if terminal(s.Phase) {
		return
	}
	now, before := findCondition(s.Conditions, corev1.PodResizeInProgress), v.lastCondition(corev1.PodResizeInProgress)
	switch {
	case now != nil && (before == nil || before.ObservedGeneration != now.ObservedGeneration):
		d.event(corev1.EventTypeNormal, resizeStarted, resizeMessage("started", v.Pod, now.ObservedGeneration, ""), "")
	case now == nil && before != nil:
		d.event(corev1.EventTypeNormal, resizeCompleted, resizeMessage("completed", v.Pod, before.ObservedGeneration, ""), "")
	}
	if now != nil && now.Reason == corev1.PodReasonError && (before == nil || before.Reason != now.Reason || before.Message != now.Message) {
		d.event(corev1.EventTypeWarning, resizeError, resizeMessage("error", v.Pod, now.ObservedGeneration, now.Message), "")
	}
	pending, was := findCondition(s.Conditions, corev1.PodResizePending), v.lastCondition(corev1.PodResizePending)
	if pending != nil && (was == nil || was.Reason != pending.Reason || was.ObservedGeneration != pending.ObservedGeneration) {
		d.event(corev1.EventTypeWarning, "Resize"+pending.Reason,
			resizeMessage(pending.Reason, v.Pending.Desired, pending.ObservedGeneration, pending.Message), "")
	}
}

// resizeMessage is the kubelet's message: a word, and the resources as JSON.
func resizeMessage(word string, pod *corev1.Pod, generation int64, failure string) string {
	type container struct {
		Name      string                      `json:"name"`
		Resources corev1.ResourceRequirements `json:"resources,omitempty"`
	}
	summary := struct {
		InitContainers []container `json:"initContainers,omitempty"`
		Containers     []container `json:"containers,omitempty"`
		Generation     int64       `json:"generation"`
		Error          string      `json:"error,omitempty"`
	}{Generation: generation, Error: failure}
	for i := range pod.Spec.InitContainers {
		c := &pod.Spec.InitContainers[i]
		summary.InitContainers = append(summary.InitContainers, container{c.Name, c.Resources})
	}
	for i := range pod.Spec.Containers {
		c := &pod.Spec.Containers[i]
		summary.Containers = append(summary.Containers, container{c.Name, c.Resources})
	}
	text, err := json.Marshal(summary)
	if err != nil {
		return "Pod resize " + word
	}
	return fmt.Sprintf("Pod resize %s: %s", word, text)
}

// resources are what a container has, and what is allocated to it. What runs has what
// its cgroup was given, which may not be what is allocated yet.
func (v *view) resources(m *member, s *corev1.ContainerStatus) {
	s.Resources, s.AllocatedResources = m.spec.Resources.DeepCopy(), m.spec.Resources.Requests.DeepCopy()
	if !m.running() || m.ran.Resources == nil {
		return
	}
	for _, name := range sized {
		for _, list := range [][2]corev1.ResourceList{
			{s.Resources.Requests, m.ran.Resources.Requests}, {s.Resources.Limits, m.ran.Resources.Limits},
		} {
			if has, ok := list[1][name]; ok && list[0] != nil {
				list[0][name] = has
			}
		}
	}
}

// podResources are those of the Pod as a whole.
func (v *view) podResources(s *corev1.PodStatus) {
	if v.Effective == nil {
		return
	}
	s.AllocatedResources = v.Effective.Requests.DeepCopy()
	s.Resources = v.Effective.DeepCopy()
	if v.outsized() && v.Last.Resources != nil {
		s.Resources = v.Last.Resources.DeepCopy()
	}
}

func findCondition(list []corev1.PodCondition, t corev1.PodConditionType) *corev1.PodCondition {
	for i := range list {
		if list[i].Type == t {
			return &list[i]
		}
	}
	return nil
}
