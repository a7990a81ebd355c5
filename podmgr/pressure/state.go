// SPDX-License-Identifier: Apache-2.0

package pressure

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// Observation is what is left of something, and how much there is.
type Observation struct{ Available, Capacity int64 }

// State is what is remembered from one look at the node to the next. The zero value
// is that of a node that was never looked at.
type State struct {
	// since has the thresholds that are met, by their place in the list, and since when.
	since map[int]time.Time
	// acting are those whose time of grace is over, until enough is left again.
	acting map[int]bool
	// pressed is when each condition was last seen.
	pressed map[corev1.NodeConditionType]time.Time
}

// Verdict is what follows from a look.
type Verdict struct {
	// Conditions that the node has, sorted.
	Conditions []corev1.NodeConditionType
	// Reclaim is the threshold for which something has to go now; nil: none.
	Reclaim *Threshold
	// Met are all thresholds whose time of grace is over.
	Met []Threshold
}

// Look takes what is left and decides. transition is how long a condition stays
// after it was last seen.
func (s *State) Look(thresholds []Threshold, seen map[Signal]Observation, now time.Time, transition time.Duration) Verdict {
	since, acting := map[int]time.Time{}, map[int]bool{}
	if s.pressed == nil {
		s.pressed = map[corev1.NodeConditionType]time.Time{}
	}
	var v Verdict
	for i := range thresholds {
		t := &thresholds[i]
		if !t.met(seen, s.acting[i]) {
			continue
		}
		since[i] = now
		if at, ok := s.since[i]; ok {
			since[i] = at
		}
		s.pressed[t.Signal.Condition()] = now
		if now.Sub(since[i]) >= t.Grace {
			acting[i] = true
			v.Met = append(v.Met, *t)
		}
	}
	s.since, s.acting = since, acting
	for condition, at := range s.pressed {
		if at.Equal(now) || now.Sub(at) < transition {
			v.Conditions = append(v.Conditions, condition)
		}
	}
	slices.Sort(v.Conditions)
	if len(v.Met) > 0 { // memory before everything else: it is first in the list
		first := slices.IndexFunc(v.Met, func(t Threshold) bool { return t.Signal.Condition() == corev1.NodeMemoryPressure })
		v.Reclaim = &v.Met[max(first, 0)]
	}
	return v
}

// Enough says whether all thresholds are kept, with what they want reclaimed.
func Enough(thresholds []Threshold, seen map[Signal]Observation) bool {
	return !slices.ContainsFunc(thresholds, func(t Threshold) bool { return t.met(seen, true) })
}

// met says whether less is left than there must be, or than there must be again.
func (t *Threshold) met(seen map[Signal]Observation, again bool) bool {
	o, ok := seen[t.Signal]
	if !ok {
		return false
	}
	limit := t.Value.of(o.Capacity)
	if again {
		limit.Add(t.MinReclaim.of(o.Capacity))
	}
	return limit.Cmp(*resource.NewQuantity(o.Available, resource.BinarySI)) > 0
}
