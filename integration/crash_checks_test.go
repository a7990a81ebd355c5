// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"regexp"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
)

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

// checkStarts checks that no container of a job began more often than it should, or
// out of turn.
func (c *crashes) checkStarts(job *crashJob) {
	c.t.Helper()
	got := c.starts(job.name)
	rounds := [][]string{got}
	if again := slices.Index(got[min(1, len(got)):], job.init[0].name); again >= 0 && job.restartsAll() {
		rounds = [][]string{got[:again+1], got[again+1:]}
	}
	for _, round := range rounds {
		for i, name := range round {
			before := count(round[:i], name)
			if before > 1 || before == 1 && (name != job.apps[0].name || job.apps[0].again != restartOne) {
				c.t.Errorf("%s: %s ran too often: %q", job.name, name, got)
			}
			if i < len(job.init) && name != job.init[i].name {
				c.t.Errorf("%s: started %q", job.name, got)
			}
		}
	}
}

func count(list []string, of string) (n int) {
	for _, s := range list {
		if s == of {
			n++
		}
	}
	return n
}

// checkJob checks what is known of a job that has ended.
func (c *crashes) checkJob(job *crashJob, pod corev1.Pod) {
	c.t.Helper()
	if job.deadline { // which may have come at any moment
		if pod.Status.Phase != corev1.PodFailed || pod.Status.Reason != "DeadlineExceeded" {
			c.t.Errorf("%s: %s for %q in spite of its deadline: %+v", job.name, pod.Status.Phase, pod.Status.Reason, pod.Status)
		}
		return
	}
	phase, starts, all := corev1.PodSucceeded, c.starts(job.name), slices.Concat(job.init, job.apps)
	for _, want := range all {
		if want.code != 0 {
			phase = corev1.PodFailed
		}
		c.checkContainer(job, pod, want)
		times, restarts := count(starts, want.name), int(status(&pod, want.name).RestartCount)
		if times != restarts+1 && (!job.restartsAll() || times == 0 || times > restarts+1) {
			c.t.Errorf("%s: %s has %d restarts, all starts are %q", job.name, want.name, restarts, starts)
		}
	}
	if pod.Status.Phase != phase {
		c.t.Errorf("%s: %s for %q, want %s", job.name, pod.Status.Phase, pod.Status.Reason, phase)
	}
	if slices.ContainsFunc(job.init, func(i crashContainer) bool { return i.sidecar }) {
		c.checkHooks(job)
	}
}

// checkContainer checks the state, the log and the restarts of one container of a job.
func (c *crashes) checkContainer(job *crashJob, pod corev1.Pod, want crashContainer) {
	c.t.Helper()
	restarts := int32(0)
	if want.again != "" || job.restartsAll() && slices.ContainsFunc(job.init, func(i crashContainer) bool { return i.name == want.name }) {
		restarts = 1
	}
	s := status(&pod, want.name)
	if end := s.State.Terminated; end == nil || int(end.ExitCode) != want.code || s.RestartCount < restarts || s.RestartCount > 1 || s.RestartCount > 0 && restarts == 0 && !job.restartsAll() {
		c.t.Errorf("%s: %s has ended as %+v, restarts %d, want code %d, restarts %d", job.name, want.name, end, s.RestartCount, want.code, restarts)
		return
	}
	if want.sidecar {
		return
	}
	var lines []string
	// The last lines may take a moment.
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if lines = c.log(pod, want.name, int(s.RestartCount)); len(lines) >= 4*want.lines || time.Now().After(end) {
			break
		}
	}
	c.numbered(job.name, want.name, lines, 4*want.lines)
}

// checkHooks checks the end of a sidecar: its preStop hook, more than once if the agent
// was killed meanwhile, and then the signal.
func (c *crashes) checkHooks(job *crashJob) {
	c.t.Helper()
	want := `^(pre )+(term )+$`
	if job.restartsAll() { // it has ended more than once
		want = `(pre )+(term )*$`
	}
	if got := strings.Join(c.starts(job.name+".end"), " ") + " "; !regexp.MustCompile(want).MatchString(got) {
		c.t.Errorf("%s: the sidecar's end was %q, want %s", job.name, got, want)
	}
}

// checkLoop checks a Pod whose container ends for ever, with one of these codes.
func (c *crashes) checkLoop(name, container string, codes ...int32) {
	c.t.Helper()
	pod := c.awaitPod(name, "waits", func(p *corev1.Pod) bool { return waits(p, container, "CrashLoopBackOff") })
	s := status(&pod, container)
	if got, want := len(c.starts(name)), int(s.RestartCount)+1; got != want || got < 2 {
		c.t.Errorf("%s: began %d times, but has %d restarts", name, got, s.RestartCount)
	}
	if end := s.LastTerminationState.Terminated; end == nil || !slices.Contains(codes, end.ExitCode) {
		c.t.Errorf("%s: last ended as %+v", name, end)
	}
	c.numbered(name, container, c.log(pod, container, int(s.RestartCount)), 500)
}
