// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"flag"
	"fmt"
	"hash/maphash"
	"maps"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

var modelEvents = flag.Int("plan.events", 2, "how many events the model check lets happen to a Pod")

// TestModel explores what the property test does by chance without gaps: small Pods in a
// good world, and in it so many events, each of them at every moment and in every order.
// States that differ in nothing but the time are explored once.
func TestModel(t *testing.T) {
	pods := map[string]podOptions{
		"one app":              {restartPolicy: "Never", app: []string{"a"}},
		"init":                 {restartPolicy: "Always", init: []string{"i"}, app: []string{"a"}},
		"two inits":            {restartPolicy: "Never", init: []string{"i", "j"}, app: []string{"a"}},
		"images to be pulled":  {restartPolicy: "OnFailure", init: []string{"i"}, app: []string{"a"}, missing: true},
		"pulled each time":     {restartPolicy: "Always", app: []string{"a"}, pull: "Always"},
		"sidecar":              {restartPolicy: "OnFailure", init: []string{"s*"}, app: []string{"a"}},
		"sidecars":             {restartPolicy: "Never", init: []string{"s*", "t*"}, app: []string{"a"}},
		"hooks":                {restartPolicy: "Always", init: []string{"s*"}, app: []string{"a"}, hooks: true},
		"probes":               {restartPolicy: "Always", init: []string{"s*"}, app: []string{"a"}, probes: true},
		"restart rule":         {restartPolicy: "Never", init: []string{"i"}, app: []string{"a"}, rule: corev1.ContainerRestartRuleActionRestart},
		"restart all":          {restartPolicy: "Never", init: []string{"i"}, app: []string{"a", "b"}, rule: corev1.ContainerRestartRuleActionRestartAllContainers},
		"restart all, sidecar": {restartPolicy: "Always", init: []string{"s*"}, app: []string{"a"}, rule: corev1.ContainerRestartRuleActionRestartAllContainers},
		"ephemeral":            {restartPolicy: "OnFailure", init: []string{"i"}, app: []string{"a"}, debug: true},
		"resize":               {restartPolicy: "OnFailure", init: []string{"s*:64Mi"}, app: []string{"a:64Mi"}},
		"resize by a restart":  {restartPolicy: "Always", app: []string{"a:64Mi"}, hooks: true, resizeRestarts: true},
		"deadline":             {restartPolicy: "Never", app: []string{"a"}, deadline: 40, probes: true, hooks: true},
		"deadline, init":       {restartPolicy: "Always", init: []string{"i"}, app: []string{"a"}, deadline: 40},
	}
	for name, o := range pods {
		if o.pull == "" {
			o.pull = "IfNotPresent"
		}
		o.grace = 30
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := &model{seed: maphash.MakeSeed(), seen: map[uint64]int{}, walk: map[uint64]int{}}
			if err := m.explore(&judge{world: newWorld(o), hooks: o.hooks, debugs: o.debug}, *modelEvents, 0); err != nil {
				t.Fatal(err)
			}
			t.Logf("%d states", len(m.seen))
		})
	}
}

// model remembers the states that were explored, with how many events to come, and the
// walk without an event on which each was met first.
type model struct {
	seed       maphash.Seed
	seen, walk map[uint64]int // by the states' hashes
	walks      int
}

// explore takes a decision, lets the good world go on, and then, in its place, each of the
// events that may happen now.
func (m *model) explore(j *judge, events, walk int) error {
	if _, err := j.step(); err != nil {
		return fmt.Errorf("%w\n%s", err, strings.Join(j.log, "\n"))
	}
	if j.finished {
		return nil
	}
	key := maphash.String(m.seed, j.state())
	if before, ok := m.walk[key]; ok && before == walk {
		return fmt.Errorf("it goes in circles\n%s", strings.Join(j.log, "\n"))
	}
	if left, ok := m.seen[key]; ok && left >= events {
		return nil
	}
	m.seen[key], m.walk[key] = events, walk
	switch next := j.clone(); {
	case next.proceed():
		if err := m.explore(next, events, walk); err != nil {
			return err
		}
	default:
		if err := j.ends(); err != nil {
			return err
		}
	}
	if events == 0 {
		return nil
	}
	for _, e := range j.possible() {
		if e == "advance 1s" || e == "delete 5" || e == "end Terminated" { // little else than another time
			continue
		}
		next := j.clone()
		next.log = append(next.log, e)
		next.let(e)
		m.walks++
		if err := m.explore(next, events-1, m.walks); err != nil {
			return err
		}
	}
	return nil
}

// proceed lets one good thing happen, the first that can, or else the time come for which
// the agent waits. It says whether there is any.
func (j *judge) proceed() bool {
	for _, key := range sortedKeys(j.busy) {
		j.log = append(j.log, "done "+key)
		j.complete(key)
		return true
	}
	for _, i := range j.pod.Spec.InitContainers {
		if j.startedUp(i.Name) {
			j.log = append(j.log, "up "+i.Name)
			return true
		}
		if c := j.live(i.Name); c != nil && !isSidecar(&i) {
			j.log = append(j.log, "exit0 "+i.Name)
			j.exit(c, 0, 0)
			return true
		}
	}
	if j.next.IsZero() {
		return false
	}
	j.now = j.next
	return true
}

// ends checks of a Pod at rest that it came up or to its end, and that it ends when it is
// deleted.
func (j *judge) ends() error {
	c := j.clone()
	err := c.cameUp()
	if err == nil {
		c.delete(30 * time.Second)
		if err = c.calm(); err == nil && !c.finished {
			err = fmt.Errorf("a deleted Pod is not gone")
		}
	}
	if err != nil {
		return fmt.Errorf("%w\n%s", err, strings.Join(c.log, "\n"))
	}
	return nil
}

func (j *judge) clone() *judge {
	w := *j.world
	w.pod, w.last = w.pod.DeepCopy(), *w.last.DeepCopy()
	w.sandboxes, w.containers = slices.Clone(w.sandboxes), slices.Clone(w.containers)
	w.images, w.unpullable, w.failures = maps.Clone(w.images), maps.Clone(w.unpullable), maps.Clone(w.failures)
	w.busy, w.hashes, w.hash = maps.Clone(w.busy), maps.Clone(w.hashes), maps.Clone(w.hash)
	w.stubborn, w.broken = maps.Clone(w.stubborn), maps.Clone(w.broken)
	return &judge{world: &w, next: j.next, hooks: j.hooks, debugs: j.debugs, log: slices.Clone(j.log)}
}

// state is what there is, without times.
func (j *judge) state() string {
	var s []string
	for _, b := range j.sandboxes {
		s = append(s, b.ID+string(b.State))
	}
	for _, c := range j.containers {
		s = append(s, fmt.Sprint(c.ID, c.State, c.SandboxID, c.SpecHash, c.Round, c.Resources, c.Replaced, c.BackOff, c.ExitCode, c.PostStart.Result, c.PreStop.Result, c.Probes, j.now.Sub(c.FinishedAt) > c.BackOff))
	}
	for key, a := range j.busy {
		s = append(s, "busy "+key+string(a.Kind)+a.ID)
		if a.Kind == CreateContainer {
			s = append(s, "being made "+a.Container+j.hash[a.Container]+a.SandboxID)
		}
	}
	for key, f := range j.failures {
		s = append(s, fmt.Sprint("failed ", key, f.Kind, f.Count))
	}
	for name, hash := range j.hashes {
		s = append(s, name+hash)
	}
	for ref, i := range j.images {
		s = append(s, fmt.Sprint(ref, i.Present, i.Failures, i.Pulling, i.PulledAt.IsZero(), j.now.Before(pullAgain(i))))
	}
	for _, c := range slices.Concat(j.last.InitContainerStatuses, j.last.ContainerStatuses, j.last.EphemeralContainerStatuses) {
		s = append(s, fmt.Sprint(c.Name, c.RestartCount, c.State.Waiting, c.State.Running != nil, c.State.Terminated != nil, c.LastTerminationState.Terminated != nil))
	}
	sort.Strings(s)
	if a := j.pod.Spec.ActiveDeadlineSeconds; a != nil && j.last.StartTime != nil {
		s = append(s, fmt.Sprint("overdue ", !j.now.Before(j.last.StartTime.Add(time.Duration(*a)*time.Second))))
	}
	return fmt.Sprint(j.last.Phase, j.ended != nil, j.pending != nil, j.volumes, j.reclaim, j.pod.DeletionTimestamp, s)
}
