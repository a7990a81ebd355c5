// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

var (
	crashRounds = flag.Int("rounds", 50, "how often TestCrashes kills the agent")
	crashSeed   = flag.Uint64("seed", 0, "the random numbers of TestCrashes, 0 for new ones")
)

// crashes is one run of TestCrashes: a node, what was asked of it, and what is
// known about the containers that must not be touched.
type crashes struct {
	*node
	random *rand.Rand
	jobs   map[string]*crashJob // by name, also those that were removed
	port   int
	steady map[string]string // container IDs of the steady Pod by name
}

// crashJob is a Pod that ends by itself. Each of its containers notes its start
// in a file of the host, writes numbered lines, and ends with a code of its own.
type crashJob struct {
	name    string
	init    []crashContainer
	apps    []crashContainer
	removed bool
	checked bool
}

type crashContainer struct {
	name  string
	lines int
	code  int
}

// TestCrashes kills the agent at random moments while Pods start, run, end and
// are removed. No container may notice: it runs once, its log is complete and its
// exit code is told; and at the end nothing is left.
func TestCrashes(t *testing.T) {
	if testing.Short() {
		t.Skip("kills an agent many times")
	}
	seed := *crashSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("repeat with -seed %d -rounds %d", seed, *crashRounds)
	c := &crashes{
		node: newNode(t), random: rand.New(rand.NewPCG(seed, 0)),
		jobs: make(map[string]*crashJob), steady: make(map[string]string), port: freePort(t),
	}
	if err := os.Mkdir(c.path("starts"), 0o755); err != nil {
		t.Fatal(err)
	}
	c.start() // the image is imported in peace
	c.apply("steady.yaml", c.steadyPod())
	c.apply("loop.yaml", c.loopPod())
	for round := range *crashRounds {
		c.change(round)
		if c.daemon == nil {
			c.launch()
		}
		time.Sleep(time.Duration(c.random.IntN(600)) * time.Millisecond)
		if round%10 == 9 {
			c.whenUp()
			c.checkSteady()
			c.checkEnded()
		}
		c.kill()
		if t.Failed() {
			t.Fatalf("in round %d", round)
		}
	}
	c.start()
	c.finish()
}

// change adds or removes a job, or begins the slow end of a Pod that does not
// hurry.
func (c *crashes) change(round int) {
	switch present := c.present(); {
	case round%2 == 0:
		job := c.newJob(len(c.jobs))
		c.jobs[job.name] = job
		c.apply(job.name+".yaml", c.manifest(job))
	case round%7 == 1:
		c.apply("slow.yaml", c.slowPod())
	case round%7 == 5:
		if err := os.Remove(c.path("manifests/slow.yaml")); err != nil && !errors.Is(err, fs.ErrNotExist) {
			c.t.Fatal(err)
		}
	case len(present) > 2 && c.random.IntN(2) == 0:
		job := present[c.random.IntN(len(present))]
		job.removed = true
		c.remove(job.name + ".yaml")
	}
}

// present are the jobs whose manifests are there, in order of their names.
func (c *crashes) present() []*crashJob {
	var out []*crashJob
	for _, name := range slices.Sorted(maps.Keys(c.jobs)) {
		if job := c.jobs[name]; !job.removed {
			out = append(out, job)
		}
	}
	return out
}

func (c *crashes) newJob(number int) *crashJob {
	job := &crashJob{name: "job-" + strconv.Itoa(number)}
	for i := range 1 + c.random.IntN(2) {
		job.init = append(job.init, crashContainer{name: "i" + strconv.Itoa(i), lines: c.random.IntN(200)})
	}
	for i := range 1 + c.random.IntN(3) {
		job.apps = append(job.apps, crashContainer{name: "a" + strconv.Itoa(i), lines: c.random.IntN(2000), code: c.random.IntN(4)})
	}
	return job
}

// script notes the start, writes the lines in four portions, and ends.
func (c *crashContainer) script(pod string) string {
	return fmt.Sprintf("echo %s >>/starts/%s; for p in 0 1 2 3; do seq $((p*%d+1)) $((p*%d+%d)); sleep 0.1; done; exit %d",
		c.name, pod, c.lines, c.lines, c.lines, c.code)
}

func (c *crashes) container(name, script, more string) string {
	return "  - {name: " + name + ", image: busybox, imagePullPolicy: IfNotPresent, command: [sh, -c, '" + script + "'], volumeMounts: [" +
		"{name: starts, mountPath: /starts}, {name: shared, mountPath: /shared}]" + more + "}\n"
}

func (c *crashes) pod(name, policy, init, apps, more string) string {
	if init != "" {
		init = "  initContainers:\n" + init
	}
	return "apiVersion: v1\nkind: Pod\nmetadata: {name: " + name + "}\nspec:\n  restartPolicy: " + policy + "\n" + more +
		"  volumes: [{name: starts, hostPath: {path: " + c.path("starts") + "}}, {name: shared, emptyDir: {}}]\n" +
		init + "  containers:\n" + apps
}

func (c *crashes) manifest(job *crashJob) string {
	var init, apps string
	for _, i := range job.init {
		init += c.container(i.name, i.script(job.name), "")
	}
	for _, a := range job.apps {
		apps += c.container(a.name, a.script(job.name), "")
	}
	return c.pod(job.name, "Never", init, apps, "")
}

// steadyPod is never to be disturbed. Its container web answers at a hostPort.
func (c *crashes) steadyPod() string {
	return c.pod("steady", "Always",
		c.container("before", "echo before >>/starts/steady; echo prepared >/shared/file", ""),
		c.container("count", "echo count >>/starts/steady; cat /shared/file; i=0; while :; do i=$((i+1)); echo $i; usleep 20000; done", "")+
			c.container("web", "echo web >>/starts/steady; exec httpd -f -p 80 -h /shared", fmt.Sprintf(", ports: [{containerPort: 80, hostPort: %d}]", c.port)),
		"  terminationGracePeriodSeconds: 0\n")
}

// loopPod crashes for ever.
func (c *crashes) loopPod() string {
	return c.pod("loop", "Always", "", c.container("crash", "echo crash >>/starts/loop; seq 1 500; exit 3", ""), "")
}

// slowPod takes its time to end.
func (c *crashes) slowPod() string {
	return c.pod("slow", "Always", "", c.container("slow", "trap \"sleep 1; exit 0\" TERM; while :; do sleep 0.1; done", ""), "")
}

// whenUp waits until the daemon answers, as start does.
func (c *crashes) whenUp() {
	c.t.Helper()
	c.eventually("the daemon answers", func() bool { return c.pods() != nil })
}

// starts are the containers of a Pod in the order in which they began.
func (c *crashes) starts(pod string) []string {
	c.t.Helper()
	data, err := os.ReadFile(c.path("starts", pod))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		c.t.Fatal(err)
	}
	return strings.Fields(string(data))
}

// checkSteady checks that the steady Pod runs on with the containers that it
// always had.
func (c *crashes) checkSteady() {
	c.t.Helper()
	pod := c.awaitPod("steady", "all run", func(p *corev1.Pod) bool {
		return p.Status.Phase == corev1.PodRunning && len(p.Status.ContainerStatuses) == 2 &&
			p.Status.ContainerStatuses[0].State.Running != nil && p.Status.ContainerStatuses[1].State.Running != nil
	})
	for _, s := range append(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses...) {
		if before := c.steady[s.Name]; s.RestartCount != 0 || before != "" && before != s.ContainerID {
			c.t.Errorf("steady: %s is %s, before it was %s, restarts %d", s.Name, s.ContainerID, before, s.RestartCount)
		}
		c.steady[s.Name] = s.ContainerID
	}
	if got := c.starts("steady"); len(got) != 3 || got[0] != "before" {
		c.eventually("steady has begun", func() bool { return len(c.starts("steady")) >= 3 })
		if got = c.starts("steady"); len(got) != 3 || got[0] != "before" {
			c.t.Errorf("steady: started %q", got)
		}
	}
	if lines := c.log(pod, "count", 0); len(lines) == 0 || lines[0] != "prepared" {
		c.t.Errorf("steady: log begins %q", lines[:min(3, len(lines))])
	} else {
		c.numbered("steady", "count", lines[1:], len(lines)-1)
	}
	c.awaitHTTP(c.port)
}

// awaitHTTP waits until somebody speaks HTTP at a port of this machine.
func (n *node) awaitHTTP(port int) {
	n.t.Helper()
	client := &http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	n.eventually("the hostPort answers", func() bool {
		r, err := client.Get(fmt.Sprintf("http://127.0.0.1:%d/", port))
		if err != nil {
			return false
		}
		r.Body.Close()
		return true
	})
}

// numbered checks that lines are the numbers from 1 to want.
func (c *crashes) numbered(pod, container string, lines []string, want int) {
	c.t.Helper()
	for i, line := range lines {
		if line != strconv.Itoa(i+1) {
			c.t.Errorf("%s: line %d of %s is %q", pod, i+1, container, line)
			return
		}
	}
	if len(lines) != want {
		c.t.Errorf("%s: %s wrote %d lines, not %d", pod, container, len(lines), want)
	}
}

// checkEnded checks the jobs that have ended, and the starts of all.
func (c *crashes) checkEnded() {
	c.t.Helper()
	pods := c.pods()
	for _, job := range c.jobs {
		c.checkStarts(job)
		pod, there := pods[job.name]
		if !there || job.removed || job.checked || pod.DeletionTimestamp != nil ||
			(pod.Status.Phase != corev1.PodSucceeded && pod.Status.Phase != corev1.PodFailed) {
			continue
		}
		job.checked = true
		c.checkJob(job, pod)
	}
}

// checkStarts checks that no container of a job began twice, or out of turn.
func (c *crashes) checkStarts(job *crashJob) {
	c.t.Helper()
	got := c.starts(job.name)
	for i, name := range got {
		if slices.Contains(got[:i], name) {
			c.t.Errorf("%s: %s ran twice: %q", job.name, name, got)
		}
		if i < len(job.init) && name != job.init[i].name {
			c.t.Errorf("%s: started %q", job.name, got)
		}
	}
}

// checkJob checks what is known of a job that has ended.
func (c *crashes) checkJob(job *crashJob, pod corev1.Pod) {
	c.t.Helper()
	phase, all := corev1.PodSucceeded, slices.Concat(job.init, job.apps)
	states := make(map[string]corev1.ContainerStatus)
	for _, s := range append(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses...) {
		states[s.Name] = s
	}
	for _, want := range all {
		if want.code != 0 {
			phase = corev1.PodFailed
		}
		s := states[want.name]
		if end := s.State.Terminated; end == nil || int(end.ExitCode) != want.code || s.RestartCount != 0 {
			c.t.Errorf("%s: %s has ended as %+v, restarts %d, want code %d", job.name, want.name, end, s.RestartCount, want.code)
			continue
		}
		var lines []string
		// The last lines may take a moment.
		for end := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) {
			if lines = c.log(pod, want.name, 0); len(lines) >= 4*want.lines || time.Now().After(end) {
				break
			}
		}
		c.numbered(job.name, want.name, lines, 4*want.lines)
	}
	if pod.Status.Phase != phase {
		c.t.Errorf("%s: %s, want %s", job.name, pod.Status.Phase, phase)
	}
	if got := c.starts(job.name); len(got) != len(all) {
		c.t.Errorf("%s: started %q, want %d containers", job.name, got, len(all))
	}
}

// finish lets the jobs end, checks everything, and takes all away.
func (c *crashes) finish() {
	c.t.Helper()
	for _, job := range c.present() {
		c.awaitPod(job.name, "has ended", func(p *corev1.Pod) bool {
			return p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
		})
	}
	c.checkEnded()
	for _, job := range c.present() {
		if !job.checked {
			c.t.Errorf("%s was not looked at", job.name)
		}
	}
	c.checkSteady()
	loop := c.awaitPod("loop", "waits", func(p *corev1.Pod) bool {
		return len(p.Status.ContainerStatuses) == 1 && p.Status.ContainerStatuses[0].State.Waiting != nil &&
			p.Status.ContainerStatuses[0].State.Waiting.Reason == "CrashLoopBackOff"
	})
	status := loop.Status.ContainerStatuses[0]
	if got, want := len(c.starts("loop")), int(status.RestartCount)+1; got != want || got < 2 {
		c.t.Errorf("loop: began %d times, but has %d restarts", got, status.RestartCount)
	}
	if end := status.LastTerminationState.Terminated; end == nil || end.ExitCode != 3 {
		c.t.Errorf("loop: last ended as %+v", end)
	}
	c.numbered("loop", "crash", c.log(loop, "crash", int(status.RestartCount)), 500)

	manifests, _ := filepath.Glob(c.path("manifests/*"))
	for _, path := range manifests {
		if err := os.Remove(path); err != nil {
			c.t.Fatal(err)
		}
	}
	c.eventually("all Pods are gone", func() bool { pods := c.pods(); return pods != nil && len(pods) == 0 })
	var left []string
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		if left = c.residue(); len(left) == 0 || time.Now().After(end) {
			break
		}
	}
	for _, l := range left {
		c.t.Errorf("left: %s", l)
	}
	if code := c.terminate(); code != 0 {
		c.t.Errorf("the daemon ended with %d", code)
	}
	for _, l := range c.inEngine() {
		c.t.Errorf("left in the engine: %s", l)
	}
}

// freePort is a TCP port that nobody listens at now.
func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}
