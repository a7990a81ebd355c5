// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/minikubelet/minikubelet/podmgr"
	"github.com/minikubelet/minikubelet/runtime/image"
)

// Console shows a run: progress on one writer, the containers' output, each line
// prefixed with its container's name, on another. Its methods may be called from
// several goroutines.
type Console struct {
	// Progress gets the steps, Output what the containers write.
	Progress, Output io.Writer
	// JSON makes one object a line of everything, on Output.
	JSON bool
	// Terminal says that Progress is one: pulls show a moving bar there.
	Terminal bool

	mu    sync.Mutex
	begun time.Time
	node  consoleNode
	pods  map[string]*shownPod // by UID
	bar   bool                 // the last line of Progress is a bar
	width int                  // of the column with the containers' names
}

// shownPod is what was shown of a Pod.
type shownPod struct {
	pod    *corev1.Pod
	states map[string]string // container -> what was said last
	phase  corev1.PodPhase
	ip     string
	cgroup bool
	done   chan struct{} // closed when nothing more is written
	ended  sync.Once
	tails  sync.WaitGroup
	tailed map[string]bool // container/attempt
}

// begin sets the time that all others count from.
func (c *Console) begin() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.begun.IsZero() {
		c.begun = time.Now()
	}
}

// importing shows how far an archive has come.
func (c *Console) importing(path string) func(image.Progress) {
	return func(p image.Progress) { c.pull(path, p) }
}

func (c *Console) hooks() Hooks {
	c.begin()
	return Hooks{OnStatus: c.status, OnEvent: c.event, OnPull: c.pull}
}

// consoleNode is what a console shows of the node besides statuses and events.
type consoleNode interface {
	// cgroupValues is what the kernel says of a Pod's cgroup, by file name; nothing when
	// it has none.
	cgroupValues(pod *corev1.Pod) map[string]string
	// ran is how long a container ran that has ended, 0 when that is not known: a
	// status has whole seconds.
	ran(pod *corev1.Pod, containerID string) time.Duration
	// output writes what an attempt of a container writes, to its end; done is closed
	// when the Pod has ended.
	output(pod *corev1.Pod, container string, attempt int, done <-chan struct{}, stdout, stderr io.Writer) error
	// drainTime is how long the output of an ended Pod may take to be shown.
	drainTime() time.Duration
}

func (c *Console) attach(n consoleNode) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.node = n
}

// line is one thing that is shown, as -o json has it.
type line struct {
	Time      time.Time `json:"time"`
	Elapsed   float64   `json:"elapsedSeconds"`
	Pod       string    `json:"pod,omitempty"`
	Container string    `json:"container,omitempty"`
	Type      string    `json:"type"` // progress, event, log, resources
	Reason    string    `json:"reason,omitempty"`
	Message   string    `json:"message,omitempty"`
	Stream    string    `json:"stream,omitempty"`
	Details   any       `json:"details,omitempty"`
}

// say prints one line of progress; c.mu is held.
func (c *Console) say(l line) {
	l.Time = time.Now()
	l.Elapsed = l.Time.Sub(c.begun).Seconds()
	if c.JSON {
		data, err := json.Marshal(l)
		if err == nil {
			_, _ = c.Output.Write(append(data, '\n'))
		}
		return
	}
	c.clearBar()
	who := l.Container
	if who == "" {
		who = "pod"
	}
	if len(c.pods) > 1 {
		who = l.Pod + " " + who
	}
	fmt.Fprintf(c.Progress, "%8.3fs  %-*s %s\n", l.Elapsed, c.width, who, l.Message)
}

func (c *Console) clearBar() {
	if c.bar {
		fmt.Fprint(c.Progress, "\r\x1b[K")
		c.bar = false
	}
}

// note prints something that is about no container.
func (c *Console) note(text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.say(line{Type: "progress", Message: text})
}

// add shows a Pod that is about to run, with what it asks for.
func (c *Console) add(pod *corev1.Pod) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pods == nil {
		c.pods = make(map[string]*shownPod)
	}
	for container := range podmgr.Containers(pod) {
		c.width = max(c.width, len(container.Name))
	}
	c.pods[string(pod.UID)] = &shownPod{
		pod: pod, states: make(map[string]string), done: make(chan struct{}), tailed: make(map[string]bool),
	}
	r := resourcesOf(pod)
	c.say(line{Type: "resources", Pod: pod.Name, Message: r.String(), Details: r})
}

// event shows what is not told by a status: warnings, pulls.
func (c *Console) event(pod *corev1.Pod, container string, e *corev1.Event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pods[string(pod.UID)] == nil {
		return
	}
	switch {
	case c.JSON, e.Type == corev1.EventTypeWarning, e.Reason == "Pulling", e.Reason == "Killing",
		e.Reason == "Pulled" && strings.HasPrefix(e.Message, "Successfully"):
		c.say(line{Type: "event", Pod: pod.Name, Container: container, Reason: e.Reason, Message: e.Message})
	}
}

// pull shows how far an image has come: a moving bar on a terminal, else nothing
// (the events tell the beginning and the end).
func (c *Console) pull(ref string, p image.Progress) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.JSON || !c.Terminal {
		return
	}
	c.clearBar()
	if !p.Done {
		fmt.Fprint(c.Progress, Bar(ref, p))
		c.bar = true
	}
}

// status shows what changed in a Pod and begins to follow containers that run.
func (c *Console) status(pod *corev1.Pod, s *corev1.PodStatus) {
	c.mu.Lock()
	defer c.mu.Unlock()
	shown := c.pods[string(pod.UID)]
	if shown == nil {
		return
	}
	if s.PodIP != "" && shown.ip != s.PodIP {
		shown.ip = s.PodIP
		c.say(line{Type: "progress", Pod: pod.Name, Reason: "SandboxReady", Message: "sandbox ready, address " + s.PodIP})
		c.cgroupValues(shown)
	}
	c.containers(shown, s.InitContainerStatuses, "init container")
	c.containers(shown, s.ContainerStatuses, "container")
	if s.Phase != shown.phase {
		shown.phase = s.Phase
		message := string(s.Phase)
		if s.Reason != "" {
			message += ": " + s.Reason
		}
		if s.Message != "" {
			message += ": " + s.Message
		}
		c.say(line{Type: "progress", Pod: pod.Name, Reason: string(s.Phase), Message: message})
	}
}

// cgroupValues shows what the kernel says of the Pod's cgroup; c.mu is held.
func (c *Console) cgroupValues(shown *shownPod) {
	if shown.cgroup {
		return
	}
	values := c.node.cgroupValues(shown.pod)
	if len(values) == 0 {
		return
	}
	shown.cgroup = true
	c.say(line{Type: "cgroup", Pod: shown.pod.Name, Message: "cgroup " + formatValues(values), Details: values})
}

func (c *Console) containers(shown *shownPod, list []corev1.ContainerStatus, kind string) {
	for _, s := range list {
		text, state := stateText(&s, c.ran(shown.pod, &s)), stateText(&s, 0)
		if text == "" || shown.states[s.Name] == state {
			continue
		}
		before := shown.states[s.Name]
		shown.states[s.Name] = state
		if s.State.Running != nil || (s.State.Terminated != nil && !s.State.Terminated.StartedAt.IsZero()) {
			c.follow(shown, s.Name, int(s.RestartCount))
			// One that ended at once was never seen running; it began all the same.
			if start := startText(&s); s.State.Terminated != nil && before != start {
				c.say(line{Type: "progress", Pod: shown.pod.Name, Container: s.Name, Message: kind + " " + start})
			}
		}
		c.say(line{Type: "progress", Pod: shown.pod.Name, Container: s.Name, Message: kind + " " + text})
	}
}

// ran is how long an ended container ran.
func (c *Console) ran(pod *corev1.Pod, s *corev1.ContainerStatus) time.Duration {
	if _, id, _ := strings.Cut(s.ContainerID, "://"); s.State.Terminated != nil && id != "" {
		return c.node.ran(pod, id)
	}
	return 0
}

// startText says that a container's present attempt began.
func startText(s *corev1.ContainerStatus) string {
	running := corev1.ContainerStatus{RestartCount: s.RestartCount}
	running.State.Running = &corev1.ContainerStateRunning{}
	return stateText(&running, 0)
}

// stateText says what state a container is in; empty while it merely waits.
func stateText(s *corev1.ContainerStatus, ran time.Duration) string {
	attempt := ""
	if s.RestartCount > 0 {
		attempt = fmt.Sprintf(" (restart %d)", s.RestartCount)
	}
	switch {
	case s.State.Running != nil:
		return "started" + attempt
	case s.State.Terminated != nil:
		t := s.State.Terminated
		text := fmt.Sprintf("ended%s: %s, exit code %d", attempt, t.Reason, t.ExitCode)
		if ran > 0 {
			text += fmt.Sprintf(", ran %v", ran.Round(time.Millisecond))
		}
		if t.Message != "" {
			text += ": " + t.Message
		}
		return text
	case s.State.Waiting != nil && s.State.Waiting.Message != "":
		return "waits" + attempt + ": " + s.State.Waiting.Reason + ": " + s.State.Waiting.Message
	}
	return ""
}

// follow shows a container's output until the Pod is done; c.mu is held.
func (c *Console) follow(shown *shownPod, container string, attempt int) {
	key := container + "/" + strconv.Itoa(attempt)
	if shown.tailed[key] {
		return
	}
	shown.tailed[key] = true
	shown.tails.Go(func() {
		out := &prefixed{console: c, pod: shown.pod.Name, container: container, stream: "stdout"}
		errout := &prefixed{console: c, pod: shown.pod.Name, container: container, stream: "stderr"}
		if err := c.node.output(shown.pod, container, attempt, shown.done, out, errout); err != nil {
			c.note("cannot read the output of " + container + ": " + err.Error())
		}
		out.flush()
		errout.flush()
	})
}

// drain shows what is left of a Pod's output. Nothing is written any more.
func (c *Console) drain(pod *corev1.Pod) {
	c.mu.Lock()
	shown := c.pods[string(pod.UID)]
	c.mu.Unlock()
	if shown == nil {
		return
	}
	shown.ended.Do(func() { close(shown.done) })
	all := make(chan struct{})
	go func() { shown.tails.Wait(); close(all) }()
	select {
	case <-all:
	case <-time.After(c.node.drainTime()):
	}
}

// finish ends all following.
func (c *Console) finish() {
	c.mu.Lock()
	var pods []*corev1.Pod
	for _, s := range c.pods {
		pods = append(pods, s.pod)
	}
	c.mu.Unlock()
	for _, pod := range pods {
		c.drain(pod)
	}
	c.note("everything removed")
}
