// SPDX-License-Identifier: Apache-2.0

package pressure

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Candidate is a Pod that may have to go, with what the node knows of it.
type Candidate struct {
	Pod   *corev1.Pod
	Class corev1.PodQOSClass
	// Requests are the effective ones.
	Requests corev1.ResourceList
	// Usage is nil if it is not known.
	Usage *Usage
}

// request counts CPU in thousandths and everything else in units; a Pod is one Pod.
func (c *Candidate) request(name corev1.ResourceName) int64 {
	switch q := c.Requests[name]; name {
	case corev1.ResourcePods:
		return 1
	case corev1.ResourceCPU:
		return q.MilliValue()
	default:
		return q.Value()
	}
}

// Shortage is how much of a resource is missing, counted like requests.
type Shortage struct {
	Name   corev1.ResourceName
	Amount int64
}

// Victims are the Pods that go so that a critical one has what it misses: no
// Guaranteed one where Burstable and BestEffort ones are enough, and so on; of one
// class as few as can be told with little effort, and the smaller ones. It fails
// when all of them together are not enough.
func Victims(preemptor *corev1.Pod, others []Candidate, missing []Shortage) ([]Candidate, error) {
	classes := map[corev1.PodQOSClass][]Candidate{}
	var all []Candidate
	for _, c := range others {
		if preemptable(preemptor, c.Pod) {
			classes[c.Class] = append(classes[c.Class], c)
			all = append(all, c)
		}
	}
	if left := without(missing, all); len(left) > 0 {
		return nil, noVictims(left)
	}
	bestEffort, burstable := classes[corev1.PodQOSBestEffort], classes[corev1.PodQOSBurstable]
	guaranteed, err := closest(classes[corev1.PodQOSGuaranteed], without(missing, bestEffort, burstable))
	if err != nil {
		return nil, err
	}
	if burstable, err = closest(burstable, without(missing, bestEffort, guaranteed)); err != nil {
		return nil, err
	}
	if bestEffort, err = closest(bestEffort, without(missing, burstable, guaranteed)); err != nil {
		return nil, err
	}
	return slices.Concat(bestEffort, burstable, guaranteed), nil
}

func noVictims(missing []Shortage) error {
	var text strings.Builder
	for _, s := range missing {
		fmt.Fprintf(&text, "(res: %v, q: %d), ", s.Name, s.Amount)
	}
	return fmt.Errorf("preemption: error finding a set of pods to preempt: no set of running pods found to reclaim resources: [%s]", text.String())
}

// without is what is still missing when these Pods are gone.
func without(missing []Shortage, gone ...[]Candidate) []Shortage {
	var left []Shortage
	for _, s := range missing {
		for _, list := range gone {
			for i := range list {
				s.Amount -= list[i].request(s.Name)
			}
		}
		if s.Amount > 0 {
			left = append(left, s)
		}
	}
	return left
}

// closest takes one Pod after another, each time the one that leaves the least
// missing, until nothing is.
func closest(pods []Candidate, missing []Shortage) ([]Candidate, error) {
	pods = slices.Clone(pods)
	var chosen []Candidate
	for len(missing) > 0 {
		if len(pods) == 0 {
			return nil, noVictims(missing)
		}
		best := 0
		for i := range pods {
			a, b := pods[i].distance(missing), pods[best].distance(missing)
			if a < b || a == b && smaller(&pods[i], &pods[best]) {
				best = i
			}
		}
		chosen = append(chosen, pods[best])
		missing = without(missing, pods[best:best+1])
		pods = slices.Delete(pods, best, best+1)
	}
	return chosen, nil
}

// distance is the sum of the squares of what would still be missing, each as a part
// of what is.
func (c *Candidate) distance(missing []Shortage) float64 {
	var sum float64
	for _, s := range missing {
		if left := float64(s.Amount - c.request(s.Name)); left > 0 {
			sum += left / float64(s.Amount) * left / float64(s.Amount)
		}
	}
	return sum
}

func smaller(a, b *Candidate) bool {
	for _, name := range []corev1.ResourceName{corev1.ResourceMemory, corev1.ResourceCPU} {
		if x, y := a.request(name), b.request(name); x != y {
			return x < y
		}
	}
	return false
}
