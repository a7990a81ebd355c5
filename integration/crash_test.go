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

	"github.com/minikubelet/minikubelet/runtime/image/imagetest"
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
	// artifact is a reference to one that has the file k.
	artifact string
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
		artifact: newRegistry(t, "", "").pushArtifact("files", imagetest.File{Path: "k", Content: []byte("three\n")}),
	}
	c.openToAll()
	if err := os.Mkdir(c.path("starts"), 0o755); err != nil {
		t.Fatal(err)
	}
	c.start() // the image is imported in peace
	c.apply("objects.yaml", c.objects())
	c.apply("steady.yaml", c.steadyPod())
	c.apply("loop.yaml", c.loopPod())
	c.apply("sick.yaml", c.sickPod())
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
			running(p, "side", 0) && running(p, "count", 0) && running(p, "web", 0) && podReady(p)
	})
	for _, s := range append(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses...) {
		if before := c.steady[s.Name]; s.RestartCount != 0 || before != "" && before != s.ContainerID {
			c.t.Errorf("steady: %s is %s, before it was %s, restarts %d", s.Name, s.ContainerID, before, s.RestartCount)
		}
		c.steady[s.Name] = s.ContainerID
	}
	c.eventually("steady has begun", func() bool { return len(c.starts("steady")) >= 4 })
	if got := c.starts("steady"); len(got) != 4 || got[0] != "before" || got[1] != "side" {
		c.t.Errorf("steady: started %q", got)
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
	c.checkLoop("loop", "crash", 3)
	c.checkLoop("sick", "ill", 143, 137)

	manifests, _ := filepath.Glob(c.path("manifests/*"))
	for _, path := range manifests {
		if err := os.Remove(path); err != nil {
			c.t.Fatal(err)
		}
	}
	c.eventually("all Pods are gone", func() bool { pods := c.pods(); return pods != nil && len(pods) == 0 })
	var left []string
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		if left = append(c.residue(), c.volumes()...); len(left) == 0 || time.Now().After(end) {
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
