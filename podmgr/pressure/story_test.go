// SPDX-License-Identifier: Apache-2.0

package pressure

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestStories runs the pages in testdata: each is a story of one node.
//
//	node hard=(memory.available:100Mi) soft=(…) softGrace=(…) reclaim=(…) transition=5m   a new story
//	pod name class=BestEffort|Burstable|Guaranteed priority=n cpu=1 memory=64Mi uses=80Mi disk=… inodes=… pids=…
//	look memory.available=50Mi/1Gi …   what is left of what there is
//	advance 10s
//	admit name                         would it be taken now?
//	ended name at=3s reason=Evicted    a Pod that was made so long after the beginning is over
//	keep 2                             who goes so that no more stay
//	preempt name cpu=500 memory=…      who goes so that it has what it misses
func TestStories(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		s := &story{}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string { return s.run(t, d) })
	})
}

type story struct {
	thresholds []Threshold
	transition time.Duration
	state      State
	conditions []corev1.NodeConditionType
	pods       []Candidate
	ended      []*corev1.Pod
	now        time.Time
}

func (s *story) run(t *testing.T, d *datadriven.TestData) string {
	switch d.Cmd {
	case "node":
		return s.node(t, d)
	case "pod":
		s.pods = append(s.pods, makePod(t, d))
	case "advance":
		by, err := time.ParseDuration(d.CmdArgs[0].Key)
		if err != nil {
			d.Fatalf(t, "%v", err)
		}
		s.now = s.now.Add(by)
	case "look":
		return s.look(t, d)
	case "admit":
		c := s.pod(t, d)
		if why, ok := Admits(s.conditions, c.Pod, c.Class); !ok {
			return why + "\n"
		}
		return "yes\n"
	case "preempt":
		return s.preempt(t, d)
	case "ended":
		s.ended = append(s.ended, endedPod(t, d))
	case "keep":
		return s.keep(t, d)
	default:
		d.Fatalf(t, "unknown command")
	}
	return ""
}

func (s *story) pod(t *testing.T, d *datadriven.TestData) Candidate {
	i := slices.IndexFunc(s.pods, func(c Candidate) bool { return c.Pod.Name == d.CmdArgs[0].Key })
	if i < 0 {
		d.Fatalf(t, "no such Pod")
	}
	return s.pods[i]
}

func (s *story) node(t *testing.T, d *datadriven.TestData) string {
	*s = story{now: time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)}
	c := Config{Hard: map[string]string{}, Soft: map[string]string{}, SoftGrace: map[string]string{}, MinReclaim: map[string]string{}}
	for _, a := range d.CmdArgs {
		into := map[string]map[string]string{"hard": c.Hard, "soft": c.Soft, "softGrace": c.SoftGrace, "reclaim": c.MinReclaim}[a.Key]
		if a.Key == "transition" {
			s.transition, _ = time.ParseDuration(a.Vals[0])
			continue
		}
		for _, v := range a.Vals {
			signal, amount, _ := strings.Cut(v, ":")
			into[signal] = amount
		}
	}
	var err error
	if s.thresholds, err = c.Thresholds(); err != nil {
		return err.Error() + "\n"
	}
	return ""
}

// endedPod is Failed if it has a reason.
func endedPod(t *testing.T, d *datadriven.TestData) *corev1.Pod {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: d.CmdArgs[0].Key}, Status: corev1.PodStatus{Phase: corev1.PodSucceeded}}
	for _, a := range d.CmdArgs[1:] {
		switch a.Key {
		case "at":
			after, err := time.ParseDuration(a.Vals[0])
			if err != nil {
				d.Fatalf(t, "%v", err)
			}
			pod.CreationTimestamp = metav1.NewTime(time.Unix(0, 0).Add(after))
		case "reason":
			pod.Status.Phase, pod.Status.Reason = corev1.PodFailed, a.Vals[0]
		default:
			d.Fatalf(t, "unknown option %s", a.Key)
		}
	}
	return pod
}

func (s *story) keep(t *testing.T, d *datadriven.TestData) string {
	max, err := strconv.Atoi(d.CmdArgs[0].Key)
	if err != nil {
		d.Fatalf(t, "%v", err)
	}
	names := []string{"gone:"}
	for _, pod := range Surplus(s.ended, max) {
		names = append(names, pod.Name)
	}
	return strings.Join(names, " ") + "\n"
}

func makePod(t *testing.T, d *datadriven.TestData) Candidate {
	c := Candidate{
		Pod:      &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: d.CmdArgs[0].Key}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c"}}}},
		Class:    corev1.PodQOSBurstable,
		Requests: corev1.ResourceList{}, Usage: &Usage{},
	}
	number := func(text string) int64 { q := resource.MustParse(text); return q.Value() }
	used := ContainerUsage{Name: "c"}
	for _, a := range d.CmdArgs[1:] {
		switch v := a.Vals[0]; a.Key {
		case "class":
			c.Class = corev1.PodQOSClass(v)
		case "priority":
			p := int32(number(v))
			c.Pod.Spec.Priority = &p
		case "cpu", "memory", "ephemeral-storage":
			c.Requests[corev1.ResourceName(a.Key)] = resource.MustParse(v)
		case "uses":
			c.Usage.Memory, used.Memory = number(v), number(v)
		case "disk":
			c.Usage.Disk, used.Disk = number(v), number(v)
		case "inodes":
			c.Usage.Inodes = number(v)
		case "pids":
			c.Usage.Processes = number(v)
		case "usage": // not known
			c.Usage = nil
		default:
			d.Fatalf(t, "unknown option %s", a.Key)
		}
	}
	c.Pod.Spec.Containers[0].Resources.Requests = c.Requests
	if c.Usage != nil {
		c.Usage.Containers = []ContainerUsage{used}
	}
	return c
}

func (s *story) look(t *testing.T, d *datadriven.TestData) string {
	seen := map[Signal]Observation{}
	for _, a := range d.CmdArgs {
		left, of, _ := strings.Cut(a.Vals[0], "/")
		l, o := resource.MustParse(left), resource.MustParse(of)
		seen[Signal(a.Key)] = Observation{l.Value(), o.Value()}
	}
	v := s.state.Look(s.thresholds, seen, s.now, s.transition)
	s.conditions = v.Conditions
	var out strings.Builder
	fmt.Fprintf(&out, "conditions %v\n", v.Conditions)
	if v.Reclaim == nil {
		return out.String()
	}
	fmt.Fprintf(&out, "reclaim %s\n", v.Reclaim.Signal)
	pods := slices.Clone(s.pods)
	Rank(v.Reclaim.Signal, pods)
	for i := range pods {
		if Critical(pods[i].Pod) {
			fmt.Fprintf(&out, "%s stays\n", pods[i].Pod.Name)
		} else {
			fmt.Fprintf(&out, "%s within %s: %s\n", pods[i].Pod.Name, EvictionGrace(v.Reclaim, pods[i].Pod, 10*time.Second), Message(v, &pods[i], seen))
		}
	}
	return out.String()
}

func (s *story) preempt(t *testing.T, d *datadriven.TestData) string {
	c := s.pod(t, d)
	var missing []Shortage
	for _, a := range d.CmdArgs[1:] {
		q := resource.MustParse(a.Vals[0])
		missing = append(missing, Shortage{corev1.ResourceName(a.Key), q.Value()})
	}
	victims, err := Victims(c.Pod, s.pods, missing)
	if err != nil {
		return err.Error() + "\n"
	}
	var names []string
	for _, v := range victims {
		names = append(names, v.Pod.Name)
	}
	return strings.Join(names, " ") + "\n"
}
