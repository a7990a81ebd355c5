// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
)

// restarted is w1 that always comes back and has a grace period.
func restarted(more func(*corev1.Pod)) workload {
	w := works()[0]
	w.more = func(pod *corev1.Pod) {
		pod.Spec.RestartPolicy, pod.Spec.TerminationGracePeriodSeconds = corev1.RestartPolicyAlways, ptr.To[int64](30)
		if more != nil {
			more(pod)
		}
	}
	return w
}

// up starts a Pod and waits until it runs.
func (p *inProcess) up(ctx context.Context, w workload) (*corev1.Pod, error) {
	pod, seen, err := p.create(w)
	if err != nil {
		return nil, err
	}
	return pod, await(ctx, seen.reached, pod.Name+" to run")
}

func await(ctx context.Context, c <-chan struct{}, what string) error {
	select {
	case <-c:
		return nil
	case <-time.After(startBound):
		return fmt.Errorf("waited %v in vain for %s", startBound, what)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// exits kills a container from outside and waits for the status with which the
// agent's decision on its restart comes.
func (b *bench) exits(ctx context.Context, p *inProcess) error {
	var took []float64
	for round := range b.rounds + 1 {
		pod, err := p.up(ctx, restarted(nil))
		if err != nil {
			return err
		}
		pid, err := firstProcess(ctx, pod)
		if err != nil {
			return err
		}
		end := p.nextEnd(pod)
		began := time.Now()
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			return err
		}
		if err := await(ctx, end.reached, "the end of "+pod.Name); err != nil {
			return err
		}
		if round > 0 {
			took = append(took, ms(end.at.Sub(began)))
		}
		if err := p.remove(ctx, pod, ptr.To[int64](0)); err != nil {
			return err
		}
	}
	b.add(row{What: "a container's exit to its restart decision", Unit: "ms", Ours: median(took), Best: slices.Min(took), Goal: "≤ 10"})
	return nil
}

// firstProcess waits for that of the Pod's only container: a shell, in a cgroup below
// the Pod's.
func firstProcess(ctx context.Context, pod *corev1.Pod) (int, error) {
	for end := time.Now().Add(startBound); time.Now().Before(end) && ctx.Err() == nil; time.Sleep(time.Millisecond) {
		for _, depth := range []string{"*", "*/*", "*/*/*"} {
			files, _ := filepath.Glob("/sys/fs/cgroup/" + depth + "/pod" + string(pod.UID) + "/*/cgroup.procs")
			for _, file := range files {
				if pid := shellIn(file); pid != 0 {
					return pid, nil
				}
			}
		}
	}
	return 0, fmt.Errorf("no process of %s found", pod.Name)
}

// shellIn is a shell that a cgroup.procs file names; 0 if there is none.
func shellIn(file string) int {
	data, _ := os.ReadFile(file)
	for _, field := range strings.Fields(string(data)) {
		name, _ := os.ReadFile("/proc/" + field + "/comm")
		if strings.TrimSpace(string(name)) == "sh" {
			pid, _ := strconv.Atoi(field)
			return pid
		}
	}
	return 0
}

// obeys waits until a process has a handler for SIGTERM, which the first process of a
// container ignores without one.
func obeys(ctx context.Context, pid int) error {
	for end := time.Now().Add(startBound); time.Now().Before(end) && ctx.Err() == nil; time.Sleep(time.Millisecond) {
		status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		_, after, _ := strings.Cut(string(status), "SigCgt:")
		var caught uint64
		if _, err := fmt.Sscanf(after, "%x", &caught); err == nil && caught&(1<<(syscall.SIGTERM-1)) != 0 {
			return nil
		}
	}
	return fmt.Errorf("process %d does not obey SIGTERM", pid)
}

// failedProbes answers a liveness probe with a failure and waits for the container's
// end: it obeys SIGTERM at once.
func (b *bench) failedProbes(ctx context.Context, p *inProcess) error {
	var mu sync.Mutex
	var failed time.Time // when the first failing answer was given; only one Pod asks at a time
	fails := false
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if fails {
			w.WriteHeader(http.StatusInternalServerError)
			if failed.IsZero() {
				failed = time.Now()
			}
		}
	}))
	defer server.Close()
	address := server.Listener.Addr().(*net.TCPAddr)
	get := corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Host: address.IP.String(), Port: intstr.FromInt(address.Port)}}
	var took []float64
	for round := range b.rounds + 1 {
		pod, err := p.up(ctx, restarted(func(pod *corev1.Pod) {
			pod.Spec.Containers[0].LivenessProbe = &corev1.Probe{ProbeHandler: get, PeriodSeconds: 1, FailureThreshold: 1}
		}))
		if err != nil {
			return err
		}
		end := p.nextEnd(pod)
		mu.Lock()
		fails, failed = true, time.Time{}
		mu.Unlock()
		if err := await(ctx, end.reached, "the end of "+pod.Name); err != nil {
			return err
		}
		mu.Lock()
		if round > 0 {
			took = append(took, ms(end.at.Sub(failed)))
		}
		fails = false
		mu.Unlock()
		if err := p.remove(ctx, pod, ptr.To[int64](0)); err != nil {
			return err
		}
	}
	b.add(row{What: "a liveness probe's failing answer to the container's end", Unit: "ms", Ours: median(took), Best: slices.Min(took)})
	return nil
}

// deletions deletes w1, which obeys SIGTERM.
func (b *bench) deletions(ctx context.Context, p *inProcess) error {
	var took []float64
	for round := range b.rounds + 1 {
		pod, err := p.up(ctx, restarted(nil))
		if err != nil {
			return err
		}
		pid, err := firstProcess(ctx, pod)
		if err != nil {
			return err
		}
		if err := obeys(ctx, pid); err != nil {
			return err
		}
		began := time.Now()
		if err := p.remove(ctx, pod, nil); err != nil {
			return err
		}
		if round > 0 {
			took = append(took, ms(time.Since(began)))
		}
	}
	b.add(row{What: "w1 deleted (SIGTERM, which it obeys) to gone", Unit: "ms", Ours: median(took), Best: slices.Min(took), Goal: "≤ 250"})
	return nil
}

// probesEach is how many probes each Pod of probes has, at one a second.
const probesEach = 3

// probes is what the agent spends on idle Pods with HTTP probes.
func (b *bench) probes(ctx context.Context, d *daemon) error {
	probe := func() *corev1.Probe {
		return &corev1.Probe{
			ProbeHandler:  corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/etc/passwd", Port: intstr.FromInt(8080)}},
			PeriodSeconds: 1, TimeoutSeconds: 30, FailureThreshold: 30,
		}
	}
	w := works()[0]
	w.apps = append([]workContainer{{command: []string{"/bin/httpd", "-f", "-p", "8080", "-h", "/"}}}, w.apps...)
	w.more = func(pod *corev1.Pod) {
		pod.Spec.Containers[0].LivenessProbe, pod.Spec.Containers[0].ReadinessProbe = probe(), probe()
		pod.Spec.Containers[1].ReadinessProbe = probe()
	}
	if _, err := d.fill(ctx, w, b.pods); err != nil {
		return err
	}
	time.Sleep(5 * time.Second)
	cpu, err := idleCPU(ctx, []int{d.cmd.Process.Pid})
	if err != nil {
		return err
	}
	b.add(row{What: fmt.Sprintf("agent's CPU, %d idle Pods with %d HTTP probes each second, of one core", b.pods, probesEach), Unit: "%", Ours: cpu, Goal: "≤ 5"})
	return nil
}
