// SPDX-License-Identifier: Apache-2.0

package pressure

import (
	"cmp"
	"slices"
	"sort"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/minikubelet/minikubelet/podmgr/plan"
)

// ShutdownClass is the time that Pods of a priority, and of those up to the next
// class's, have when the node shuts down.
type ShutdownClass struct {
	Priority int32
	Grace    time.Duration
}

// ShutdownClasses are those of a total time of which the last part is for critical
// Pods, as the kubelet has them; none when total is 0.
func ShutdownClasses(total, critical time.Duration) []ShutdownClass {
	if total <= 0 || critical > total {
		return nil
	}
	return []ShutdownClass{{0, total - critical}, {SystemCritical, critical}}
}

// ShutdownTime is how long a shutdown takes at most.
func ShutdownTime(classes []ShutdownClass) time.Duration {
	var sum time.Duration
	for _, c := range classes {
		sum += c.Grace
	}
	return sum
}

// ShutdownGroup is a class with the Pods that it is for.
type ShutdownGroup struct {
	ShutdownClass
	Pods []*corev1.Pod
}

// ShutdownGroups sorts Pods into classes, the first to be ended first; classes
// without a Pod are left out. A Pod below all classes belongs to the lowest.
func ShutdownGroups(classes []ShutdownClass, pods []*corev1.Pod) []ShutdownGroup {
	groups := make([]ShutdownGroup, len(classes))
	for i, c := range slices.SortedFunc(slices.Values(classes), func(a, b ShutdownClass) int { return cmp.Compare(a.Priority, b.Priority) }) {
		groups[i].ShutdownClass = c
	}
	if len(groups) == 0 {
		return nil
	}
	for _, pod := range pods {
		above := sort.Search(len(groups), func(i int) bool { return groups[i].Priority > Priority(pod) })
		g := &groups[max(above-1, 0)]
		g.Pods = append(g.Pods, pod)
	}
	return slices.DeleteFunc(groups, func(g ShutdownGroup) bool { return len(g.Pods) == 0 })
}

// Grace of a Pod in this group: its own, if that is less than the class's.
func (g ShutdownGroup) GraceOf(pod *corev1.Pod) time.Duration {
	if s := pod.Spec.TerminationGracePeriodSeconds; s != nil {
		return min(plan.Seconds(*s), g.Grace)
	}
	return g.Grace
}
