// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// TestStories runs the pages in testdata: each is a story of one Pod on a node on
// which every action succeeds at once unless the story says otherwise.
//
//	pod restartPolicy=OnFailure init=(a,b,s*) app=(c:64Mi) [grace=30] [deadline=60] [pull=Always]
//	    a new story; s* is a sidecar, c:64Mi has a memory limit
//	exit c 0            a process ends
//	advance 10s         time passes; the agent wakes when the decision asked for it
//	hold create-sandbox actions of that kind take until…
//	release             …this
//	fail create-container [b]         …and those (of b) fail until "mend"
//	image a missing|present|misnamed  image-a goes, comes or cannot be
//	pull fails|works a                what a pull of image-a will do
//	stubborn c          ignores the stop signal
//	debug d             an ephemeral container is added
//	resize c 64Mi       other resources are allocated to it
//	no-room c 64Mi Deferred   they are asked for, but not allocated
//	change c            its image is changed
//	sandbox dies | agent restarts | reboot
//	lost a              every record of it is gone
//	probe a liveness fails            what a probe of a came to
//	stranger            a container runs in the Pod that its spec does not have
//	reclaim             the node needs room on its disk
//	address 192.0.2.7   the node has another address
//	delete grace=30
//	refuse OutOfcpu message… | admit
//	end Evicted grace=1 [keep-success] [quiet]   the node ends it; quiet: without DisruptionTarget
//	(hold, fail, image, pull and stubborn before the first of the others set the scene)
//	edit c subpath|nested|bidirectional|podip|secret|shared|host-network|podlimit=1Gi|startup|readiness|liveness|hooks|preStop|restart-on=3|restart-all-on=3|restarts-for-memory|gate=x   changes to the spec before the first step
//	go                  nothing happens, but the agent looks
//	status | conditions | details | addresses   more of the status
func TestStories(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		s := &story{}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			s.t, s.out = t, &strings.Builder{}
			s.run(d)
			return s.out.String()
		})
	})
}

type story struct {
	*world
	t    *testing.T
	out  *strings.Builder
	held map[Kind]bool
	next time.Time
	// begun: the agent has seen the Pod. Until then, what is said sets the scene.
	begun bool
}

func (s *story) run(d *datadriven.TestData) {
	arg := func(i int) string {
		if i < len(d.CmdArgs) {
			return d.CmdArgs[i].String()
		}
		return ""
	}
	switch d.Cmd {
	case "pod":
		s.begins(d)
		return
	case "edit":
		s.edit(arg(0), arg(1))
		return
	case "status":
		s.printStatus()
		return
	case "conditions":
		s.printConditions()
		return
	case "details":
		s.printDetails()
		return
	case "addresses":
		fmt.Fprintf(s.out, "node %s %v, pod %s %v\n", s.last.HostIP, s.last.HostIPs, s.last.PodIP, s.last.PodIPs)
		return
	case "advance":
		by, err := time.ParseDuration(arg(0))
		if err != nil {
			d.Fatalf(s.t, "%v", err)
		}
		s.settle()
		s.advance(by)
		s.line()
		return
	case "exit":
		code, err := strconv.Atoi(arg(1))
		c := s.live(arg(0))
		if err != nil || c == nil {
			d.Fatalf(s.t, "exit of %s: %v, %v", arg(0), c, err)
		}
		c.OOMKilled = arg(2) == "oom"
		s.exit(c, int32(code), 0)
	case "hold":
		s.held[Kind(strings.ReplaceAll(arg(0), "-", " "))] = true
	case "release":
		s.held = map[Kind]bool{}
		for _, key := range sortedKeys(s.busy) {
			if !s.waitsForDeadline(s.busy[key]) {
				s.complete(key)
			}
		}
	case "fail":
		s.broken[strings.ReplaceAll(arg(0), "-", " ")+strings.TrimSuffix(arg(1), "waits")] = "it broke"
		s.waits = arg(1) == "waits" || arg(2) == "waits"
	case "mend":
		for key, f := range s.failures {
			if f.Waits {
				delete(s.failures, key)
			}
		}
		s.broken = map[string]string{}
	case "image":
		img := Image{Present: arg(1) == "present"}
		if arg(1) == "misnamed" {
			img.Reason, img.Message = invalidImageName, "no such name"
		}
		s.images["image-"+arg(0)] = img
	case "pull":
		s.unpullable["image-"+arg(1)] = arg(0) == "fails"
	case "stubborn":
		s.stubborn[arg(0)] = true
	case "resize":
		s.pending = nil
		s.allocate(arg(0), arg(1))
	case "no-room":
		s.denies(arg(0), arg(1), arg(2))
	case "debug":
		s.debug(arg(0))
	case "change":
		s.hashes[arg(0)] += "'"
		s.pod.Generation++
	case "sandbox":
		s.sandboxes[len(s.sandboxes)-1].State = Exited
	case "probe":
		c := s.live(arg(0))
		result := map[string]ProbeResult{"succeeds": ProbeSucceeded, "fails": ProbeFailed}[arg(2)]
		switch arg(1) {
		case "startup":
			c.Probes.Startup = result
		case "readiness":
			c.Probes.Readiness = result
		case "liveness":
			c.Probes.Liveness = result
		}
	case "stranger":
		s.containers = append(s.containers, Container{ID: "stranger-0", Name: "stranger", State: Running, SandboxID: "sandbox-0"})
	case "lost":
		s.lose(arg(0))
	case "reclaim":
		s.reclaim = true
	case "address":
		s.address = arg(0)
	case "agent":
		s.agentRestarts()
	case "reboot":
		s.reboot()
	case "delete":
		grace := int64(30)
		if d.HasArg("grace") {
			d.ScanArgs(s.t, "grace", &grace)
		}
		s.delete(time.Duration(grace) * time.Second)
	case "refuse":
		var words []string
		for _, a := range d.CmdArgs[1:] {
			words = append(words, a.String())
		}
		s.refused = &Refusal{Reason: arg(0), Message: strings.Join(words, " ")}
	case "end":
		e := &End{Reason: arg(0), At: s.now, Grace: 30 * time.Second, Message: "it was " + arg(0), Disruption: "by the node"}
		for _, a := range d.CmdArgs[1:] {
			switch a.Key {
			case "grace":
				var seconds int
				d.ScanArgs(s.t, "grace", &seconds)
				e.Grace = time.Duration(seconds) * time.Second
			case "keep-success":
				e.KeepSuccess = true
			case "quiet":
				e.Disruption = ""
			}
		}
		s.ended = e
	case "admit":
		s.refused = nil
	case "go":
	default:
		d.Fatalf(s.t, "unknown command")
	}
	switch d.Cmd {
	case "hold", "fail", "image", "pull", "stubborn":
		if !s.begun {
			return
		}
	}
	s.settle()
	s.line()
}

func (s *story) begins(d *datadriven.TestData) {
	o := podOptions{restartPolicy: "Always", grace: 30, pull: "IfNotPresent"}
	for _, a := range d.CmdArgs {
		switch a.Key {
		case "restartPolicy":
			o.restartPolicy = a.Vals[0]
		case "init":
			o.init = a.Vals
		case "app":
			o.app = a.Vals
		case "grace":
			d.ScanArgs(s.t, "grace", &o.grace)
		case "deadline":
			d.ScanArgs(s.t, "deadline", &o.deadline)
		case "pull":
			o.pull = a.Vals[0]
		default:
			d.Fatalf(s.t, "unknown option %s", a.Key)
		}
	}
	s.world = newWorld(o)
	s.held = map[Kind]bool{}
	s.next, s.begun = time.Time{}, false
}

func (s *story) edit(name, what string) {
	spec := &s.pod.Spec
	var c *corev1.Container
	for i := range spec.InitContainers {
		if spec.InitContainers[i].Name == name {
			c = &spec.InitContainers[i]
		}
	}
	for i := range spec.Containers {
		if spec.Containers[i].Name == name {
			c = &spec.Containers[i]
		}
	}
	fieldRef := func(path string) *corev1.EnvVarSource {
		return &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: path}}
	}
	yes, both := true, corev1.MountPropagationBidirectional
	key, value, _ := strings.Cut(what, "=")
	switch key {
	case "nested":
		c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: "v", MountPath: "/v/"}, corev1.VolumeMount{Name: "w", MountPath: "/v/w"})
	case "subpath":
		c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: "v", MountPath: "/v", SubPath: "s"})
	case "bidirectional":
		c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: "v", MountPath: "/v", MountPropagation: &both})
	case "podip":
		c.Env = append(c.Env, corev1.EnvVar{Name: "IP", ValueFrom: fieldRef("status.podIP")})
	case "secret":
		c.Env = append(c.Env, corev1.EnvVar{Name: "S", ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{}}})
	case "startup":
		c.StartupProbe = &corev1.Probe{}
	case "readiness":
		c.ReadinessProbe = &corev1.Probe{}
	case "liveness":
		c.LivenessProbe = &corev1.Probe{TerminationGracePeriodSeconds: ptr(int64(5))}
	case "restart-on", "restart-all-on":
		code, err := strconv.Atoi(value)
		if err != nil {
			s.t.Fatal(err)
		}
		if c.RestartPolicy == nil {
			never := corev1.ContainerRestartPolicyNever
			c.RestartPolicy = &never
		}
		action := corev1.ContainerRestartRuleActionRestart
		if key == "restart-all-on" {
			action = corev1.ContainerRestartRuleActionRestartAllContainers
		}
		c.RestartPolicyRules = restartRule(action, int32(code))
	case "hooks":
		c.Lifecycle = &corev1.Lifecycle{PostStart: &corev1.LifecycleHandler{}, PreStop: &corev1.LifecycleHandler{}}
	case "preStop":
		c.Lifecycle = &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{}}
	case "gate":
		spec.ReadinessGates = append(spec.ReadinessGates, corev1.PodReadinessGate{ConditionType: corev1.PodConditionType(value)})
	case "restarts-for-memory":
		c.ResizePolicy = []corev1.ContainerResizePolicy{{ResourceName: corev1.ResourceMemory, RestartPolicy: corev1.RestartContainer}}
	case "never":
		never := corev1.ContainerRestartPolicyNever
		c.RestartPolicy = &never
	case "pull":
		c.ImagePullPolicy = corev1.PullPolicy(value)
	case "host-network":
		spec.HostNetwork = true
	case "shared":
		spec.ShareProcessNamespace = &yes
	case "podlimit":
		spec.Resources = &corev1.ResourceRequirements{Limits: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse(value)}}
	default:
		s.t.Fatalf("unknown edit %q", what)
	}
}

// advance lets time pass, with the agent looking at each moment it asked for.
func (s *story) advance(by time.Duration) {
	end := s.now.Add(by)
	for {
		at := end
		if !s.next.IsZero() && s.next.Before(at) {
			at = s.next
		}
		for _, key := range sortedKeys(s.busy) {
			if a := s.busy[key]; a.ending() && a.Deadline.Before(at) && a.Deadline.After(s.now) {
				at = a.Deadline
			}
		}
		s.now = at
		for _, key := range sortedKeys(s.busy) {
			if a := s.busy[key]; a.ending() && !s.now.Before(a.Deadline) {
				s.complete(key)
			}
		}
		s.settle()
		if !at.Before(end) {
			return
		}
	}
}

// settle decides and acts until nothing more is to be done.
func (s *story) settle() {
	s.begun = true
	for round := 0; ; round++ {
		if round == 100 {
			s.t.Fatalf("it never comes to rest:\n%s", s.out)
		}
		in := s.input()
		d := Decide(in)
		s.next = d.Next
		s.last = *d.Status.DeepCopy()
		for _, e := range d.Events {
			fmt.Fprintf(s.out, "%sevent %s %s: %s\n", s.since(), e.Type, e.Reason, e.Message)
		}
		fresh := false
		for _, a := range d.Actions {
			if _, under := s.busy[a.Key()]; under && s.busy[a.Key()].Deadline.Equal(a.Deadline) {
				continue
			}
			fresh = true
			fmt.Fprintf(s.out, "%s%s\n", s.since(), describe(a))
			s.begin(a)
			if !s.held[a.Kind] && !s.waitsForDeadline(s.busy[a.Key()]) {
				s.complete(a.Key())
			}
		}
		again := !s.next.IsZero() && s.next.Sub(s.now) <= soon
		if !fresh && !again || s.finished {
			return
		}
	}
}

func (s *story) waitsForDeadline(a Action) bool {
	return a.Kind == StopContainer && s.stubborn[a.Container] && s.now.Before(a.Deadline)
}

func (s *story) since() string { return fmt.Sprintf("%-7s ", s.now.Sub(epoch)) }

func describe(a Action) string {
	switch a.Kind {
	case CreateSandbox, RemoveSandbox:
		return fmt.Sprintf("%s %d", a.Kind, a.Attempt)
	case PullImage:
		return fmt.Sprintf("%s %s", a.Kind, a.Image)
	case CreateContainer:
		text := fmt.Sprintf("create %s-%d", a.Container, a.Attempt)
		if a.BackOff > 0 {
			text += fmt.Sprintf(" (next back-off %s)", a.BackOff)
		}
		return text
	case StartContainer, RemoveContainer:
		return fmt.Sprintf("%s %s", strings.TrimSuffix(string(a.Kind), " container"), a.ID)
	case PostStart:
		return fmt.Sprintf("postStart %s", a.ID)
	case PreStop:
		return fmt.Sprintf("preStop %s, until %s: %s", a.ID, a.Deadline.Sub(epoch), a.Message)
	case StopContainer:
		return fmt.Sprintf("stop %s, killed at %s: %s", a.ID, a.Deadline.Sub(epoch), a.Message)
	default:
		return string(a.Kind)
	}
}

// line is the Pod as a table shows it.
func (s *story) line() {
	if s.finished {
		s.out.WriteString("gone\n")
		return
	}
	pod := s.pod.DeepCopy()
	pod.Status = s.last
	status, ready, total, restarts := Summary(pod)
	fmt.Fprintf(s.out, "%s%s %d/%d %s", s.since(), s.last.Phase, ready, total, status)
	if restarts > 0 {
		fmt.Fprintf(s.out, ", %d restarts", restarts)
	}
	if !s.next.IsZero() {
		fmt.Fprintf(s.out, ", looks again at %s", s.next.Sub(epoch))
	}
	s.out.WriteString("\n")
}

func (s *story) printStatus() {
	fmt.Fprintf(s.out, "phase %s %s %s\n", s.last.Phase, s.last.Reason, s.last.Message)
	for _, c := range s.last.ContainerStatuses {
		if has := c.Resources.Limits.Memory(); !has.IsZero() {
			fmt.Fprintf(s.out, "%s has %s of memory\n", c.Name, has)
		}
	}
	for _, c := range s.last.EphemeralContainerStatuses {
		fmt.Fprintf(s.out, "%s: ephemeral, %s, restarts %d\n", c.Name, describeState(c.State), c.RestartCount)
	}
	for _, c := range append(append([]corev1.ContainerStatus{}, s.last.InitContainerStatuses...), s.last.ContainerStatuses...) {
		fmt.Fprintf(s.out, "%s: %s, restarts %d, started %t, ready %t", c.Name, describeState(c.State), c.RestartCount, *c.Started, c.Ready)
		if c.LastTerminationState.Terminated != nil {
			fmt.Fprintf(s.out, ", before that %s", describeState(c.LastTerminationState))
		}
		s.out.WriteString("\n")
	}
}

func (s *story) printDetails() {
	for _, c := range append(append([]corev1.ContainerStatus{}, s.last.InitContainerStatuses...), s.last.ContainerStatuses...) {
		fmt.Fprintf(s.out, "%s: image %s", c.Name, c.Image)
		if c.ContainerID != "" {
			fmt.Fprintf(s.out, " %s in %s, user %d, stopped by %s", c.ImageID, c.ContainerID, c.User.Linux.UID, *c.StopSignal)
		}
		s.out.WriteString("\n")
	}
}

func describeState(st corev1.ContainerState) string {
	switch {
	case st.Running != nil:
		return fmt.Sprintf("running since %s", st.Running.StartedAt.Sub(epoch))
	case st.Terminated != nil:
		t := st.Terminated
		text := fmt.Sprintf("terminated %s %d", t.Reason, t.ExitCode)
		if t.Signal != 0 {
			text += fmt.Sprintf(" by signal %d", t.Signal)
		}
		if !t.FinishedAt.IsZero() {
			text += fmt.Sprintf(" at %s", t.FinishedAt.Sub(epoch))
		}
		return text
	case st.Waiting != nil && st.Waiting.Message != "":
		return fmt.Sprintf("waiting %s (%s)", st.Waiting.Reason, st.Waiting.Message)
	case st.Waiting != nil:
		return "waiting " + st.Waiting.Reason
	}
	return "nothing"
}

func (s *story) printConditions() {
	for _, c := range s.last.Conditions {
		fmt.Fprintf(s.out, "%s %s since %s", c.Type, c.Status, c.LastTransitionTime.Sub(epoch))
		if c.Reason != "" {
			fmt.Fprintf(s.out, ": %s", c.Reason)
		}
		if c.Message != "" {
			fmt.Fprintf(s.out, " (%s)", c.Message)
		}
		if g := c.ObservedGeneration; g != 0 && g != s.pod.Generation {
			fmt.Fprintf(s.out, ", of generation %d", g)
		}
		s.out.WriteString("\n")
	}
}
