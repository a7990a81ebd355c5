// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"flag"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"
)

var modelDepth = flag.Int("plan.depth", 4, "how many events in a row the model check explores")

// TestModel explores all orders of events for tiny Pods: what the property test does
// by chance, to a small depth but without gaps. States that differ in nothing but
// the time are explored once.
func TestModel(t *testing.T) {
	pods := []podOptions{
		{restartPolicy: "Never", app: []string{"a"}},
		{restartPolicy: "Always", init: []string{"i"}, app: []string{"a"}},
		{restartPolicy: "Never", init: []string{"i", "j"}, app: []string{"a"}},
		{restartPolicy: "OnFailure", init: []string{"s*"}, app: []string{"a"}},
		{restartPolicy: "Always", init: []string{"s*"}, app: []string{"a"}, hooks: true},
		{restartPolicy: "Never", init: []string{"i"}, app: []string{"a", "b"}, restartAll: true},
		{restartPolicy: "Always", init: []string{"s*"}, app: []string{"a"}, restartAll: true},
		{restartPolicy: "OnFailure", app: []string{"a:64Mi"}, debug: true},
		{restartPolicy: "Always", init: []string{"s*"}, app: []string{"a"}, probes: true},
		{restartPolicy: "Never", app: []string{"a"}, deadline: 40, probes: true, hooks: true},
	}
	for _, o := range pods {
		o.grace, o.pull = 30, "IfNotPresent"
		t.Run(fmt.Sprintf("%s init %v app %v hooks %v probes %v restart all %v debug %v", o.restartPolicy, o.init, o.app, o.hooks, o.probes, o.restartAll, o.debug), func(t *testing.T) {
			t.Parallel()
			m := &model{seen: map[string]int{}}
			if err := m.explore(&judge{world: newWorld(makePod(o)), hooks: o.hooks, debugs: o.debug}, *modelDepth); err != nil {
				t.Fatal(err)
			}
			t.Logf("%d states", len(m.seen))
		})
	}
}

// model remembers the states that were explored, and how deep.
type model struct{ seen map[string]int }

func (m *model) explore(j *judge, depth int) error {
	if _, err := j.step(); err != nil {
		return fmt.Errorf("%w\n%s", err, strings.Join(j.log, "\n"))
	}
	if j.finished {
		return nil
	}
	key := j.state()
	if left, ok := m.seen[key]; ok && left >= depth {
		return nil
	}
	m.seen[key] = depth
	if depth == 0 {
		return j.ends()
	}
	for _, e := range j.possible() {
		if strings.HasPrefix(e, "advance 1s") || e == "delete 5" || e == "end Terminated" {
			continue
		}
		next := j.clone()
		next.log = append(next.log, e)
		next.let(e)
		if err := m.explore(next, depth-1); err != nil {
			return err
		}
	}
	return nil
}

// ends checks that the Pod still comes up or ends by itself, and ends when deleted.
func (j *judge) ends() error {
	c := j.clone()
	err := c.calm()
	if err == nil && !c.finished {
		err = c.cameUp()
	}
	if err == nil && !c.finished {
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
	}
	for key, f := range j.failures {
		s = append(s, fmt.Sprint("failed ", key, f.Kind, f.Count))
	}
	for name, hash := range j.hashes {
		s = append(s, name+hash)
	}
	for _, c := range slices.Concat(j.last.InitContainerStatuses, j.last.ContainerStatuses, j.last.EphemeralContainerStatuses) {
		s = append(s, fmt.Sprint(c.Name, c.RestartCount, c.State.Waiting, c.State.Running != nil, c.State.Terminated != nil, c.LastTerminationState.Terminated != nil))
	}
	sort.Strings(s)
	if a := j.pod.Spec.ActiveDeadlineSeconds; a != nil && j.last.StartTime != nil {
		s = append(s, fmt.Sprint("overdue ", !j.now.Before(j.last.StartTime.Add(time.Duration(*a)*time.Second))))
	}
	return fmt.Sprint(j.last.Phase, j.ended != nil, j.pod.DeletionTimestamp, s)
}
