// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"sort"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"pgregory.net/rapid"
)

// TestInvariants lets anything happen, in any order, to Pods of every kind, and then
// lets the world be good: the Pod comes up or to its end, and a deleted one is gone.
func TestInvariants(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := drawPod(t)
		j := &judge{world: newWorld(o), hooks: o.hooks, debugs: true}
		fail := func(err error) {
			if err != nil {
				t.Fatalf("%v\n%s", err, strings.Join(j.log, "\n"))
			}
		}
		for range rapid.IntRange(0, 60).Draw(t, "events") {
			_, err := j.step()
			fail(err)
			if j.finished {
				return
			}
			j.happens(t)
		}
		fail(j.calm())
		if j.finished {
			return
		}
		fail(j.cameUp())
		j.log = append(j.log, "delete")
		j.delete(30 * time.Second)
		fail(j.calm())
		if !j.finished {
			t.Fatalf("a deleted Pod is not gone\n%s", strings.Join(j.log, "\n"))
		}
	})
}

func drawPod(t *rapid.T) podOptions {
	o := podOptions{
		restartPolicy:  rapid.SampledFrom([]string{"Always", "OnFailure", "Never"}).Draw(t, "restartPolicy"),
		pull:           rapid.SampledFrom([]string{"IfNotPresent", "Always"}).Draw(t, "pull"),
		grace:          30,
		hooks:          rapid.IntRange(0, 2).Draw(t, "hooks") == 0,
		probes:         rapid.IntRange(0, 2).Draw(t, "probes") == 0,
		rule:           rapid.SampledFrom([]corev1.ContainerRestartRuleAction{"", "", corev1.ContainerRestartRuleActionRestart, corev1.ContainerRestartRuleActionRestartAllContainers}).Draw(t, "rule"),
		missing:        rapid.Bool().Draw(t, "missing images"),
		resizeRestarts: rapid.IntRange(0, 2).Draw(t, "resize restarts") == 0,
	}
	limit := rapid.SampledFrom([]string{"", ":64Mi"}).Draw(t, "limit")
	for i := range rapid.IntRange(0, 3).Draw(t, "inits") {
		o.init = append(o.init, fmt.Sprintf("i%d%s%s", i, rapid.SampledFrom([]string{"", "*"}).Draw(t, "sidecar"), limit))
	}
	for i := range rapid.IntRange(1, 2).Draw(t, "apps") {
		o.app = append(o.app, fmt.Sprintf("a%d%s", i, limit))
	}
	if rapid.IntRange(0, 4).Draw(t, "has deadline") == 0 {
		o.deadline = 120
	}
	return o
}

// happens lets one thing happen.
func (j *judge) happens(t *rapid.T) {
	events := j.possible()
	e := rapid.SampledFrom(events).Draw(t, "event")
	j.log = append(j.log, e)
	j.let(e)
}

// possible are the events that can happen now, by their names.
func (j *judge) possible() []string {
	events := []string{"advance 1s", "advance 30s", "advance 11m", "agent restarts", "reboot", "delete 5", "delete 30"}
	if j.ended == nil {
		events = append(events, "end Evicted", "end Terminated")
	}
	for key, a := range j.busy {
		if !a.ending() || j.container(a.ID) != nil {
			events = append(events, "done "+key, "failed "+key)
		}
	}
	for _, c := range j.containers {
		if c.State == Running {
			events = append(events, "exit0 "+c.Name, "exit1 "+c.Name)
			if j.probedLive(c.Name) {
				events = append(events, "sick "+c.Name)
			}
			if j.isSidecar(c.Name) && c.Probes.Startup != ProbeSucceeded && j.probedLive(c.Name) {
				events = append(events, "up "+c.Name, "down "+c.Name)
			}
			if j.hasRules(c.Name) {
				events = append(events, "exit3 "+c.Name)
			}
		} else if j.live(c.Name) == nil && j.busy["container "+c.Name].Kind == "" && !couldRestartAll(&j.pod.Spec) {
			// Rounds are counted by records; nothing stands in for the newest.
			events = append(events, "lost "+c.Name)
		}
	}
	for i, s := range j.sandboxes {
		if s.State == Running && i == len(j.sandboxes)-1 {
			events = append(events, "sandbox dies")
		}
	}
	if j.debugs && len(j.pod.Spec.EphemeralContainers) == 0 && j.pod.DeletionTimestamp == nil {
		events = append(events, "debug d")
	}
	for _, c := range j.pod.Spec.Containers {
		if size := c.Resources.Limits.Memory(); size.String() == "64Mi" {
			events = append(events, "resize "+c.Name)
			if j.pending == nil {
				events = append(events, "no-room "+c.Name)
			}
		}
	}
	if terminal(j.last.Phase) && !j.reclaim {
		events = append(events, "reclaim")
	}
	for name := range j.hashes {
		events = append(events, "change "+name)
	}
	sort.Strings(events)
	return events
}

func (j *judge) let(event string) {
	word, rest, _ := strings.Cut(event, " ")
	switch word {
	case "advance":
		by, _ := time.ParseDuration(rest)
		j.now = j.now.Add(by)
	case "agent":
		j.agentRestarts()
	case "reboot":
		j.reboot()
	case "end":
		j.ended = &End{Reason: rest, At: j.now, Grace: 5 * time.Second, Disruption: "by the node", KeepSuccess: rest == "Terminated"}
	case "delete":
		by, _ := time.ParseDuration(rest + "s")
		j.delete(by)
	case "done":
		j.complete(rest)
	case "failed":
		a := j.busy[rest]
		if a.Kind == PullImage {
			j.unpullable[a.Image] = true
			j.complete(rest)
			j.unpullable[a.Image] = false
			return
		}
		j.broken[string(a.Kind)] = "it broke"
		j.complete(rest)
		delete(j.broken, string(a.Kind))
	case "exit0":
		j.exit(j.live(rest), 0, 0)
	case "exit1":
		j.exit(j.live(rest), 1, 0)
	case "exit3":
		j.exit(j.live(rest), 3, 0)
	case "sick":
		j.live(rest).Probes.Liveness = ProbeFailed
	case "up":
		j.startedUp(rest)
	case "sandbox":
		j.sandboxes[len(j.sandboxes)-1].State = Exited
	case "down":
		j.live(rest).Probes.Startup = ProbeFailed
	case "lost":
		j.lose(rest)
	case "reclaim":
		j.reclaim = true
	case "no-room":
		j.denies(rest, "256Mi", corev1.PodReasonDeferred)
	case "resize":
		j.pending = nil
		j.allocate(rest, "128Mi")
	case "debug":
		j.debug(rest)
	case "change":
		j.hashes[rest] += "'"
	}
}

// calm lets everything succeed, and init containers end well, until nothing moves.
func (j *judge) calm() error {
	j.log = append(j.log, "calm")
	for range 2000 {
		began, err := j.step()
		if err != nil {
			return err
		}
		moved := began > 0
		for _, key := range sortedKeys(j.busy) {
			j.complete(key)
			moved = true
		}
		for _, i := range j.pod.Spec.InitContainers {
			if j.startedUp(i.Name) {
				moved = true
			}
			if c := j.live(i.Name); c != nil && !isSidecar(&i) {
				j.exit(c, 0, 0)
				moved = true
			}
		}
		if j.finished {
			return nil
		}
		if !moved {
			if j.next.IsZero() {
				return nil
			}
			j.now = j.next
		}
	}
	return fmt.Errorf("it does not come to rest")
}

// cameUp says what keeps a Pod down in a good world.
func (j *judge) cameUp() error {
	if terminal(j.last.Phase) {
		return nil
	}
	if j.ended != nil {
		return fmt.Errorf("the node ended it, and it is %s", j.last.Phase)
	}
	for _, s := range append(j.last.InitContainerStatuses, j.last.ContainerStatuses...) {
		if s.State.Waiting != nil {
			return fmt.Errorf("%s still waits: %v", s.Name, s.State.Waiting)
		}
	}
	if j.last.Phase != "Running" {
		return fmt.Errorf("phase is %s", j.last.Phase)
	}
	return nil
}
