// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

// idleTime is over how long CPU time is counted.
const idleTime = 20 * time.Second

// node measures the daemon as its users have it: memory idle and full, CPU time
// when nothing happens, and how fast manifests become running Pods.
func (b *bench) node(ctx context.Context, d *daemon) error {
	time.Sleep(3 * time.Second) // start-up garbage is given back
	b.add(row{What: "agent with containerd, resident, idle", Unit: "MB", Ours: d.memory("VmRSS"), Goal: "≤ 45"})
	took, err := d.fill(ctx, works()[0], b.pods)
	if err != nil {
		return err
	}
	b.add(row{What: fmt.Sprintf("%d × w1 from %d manifests dropped at once", b.pods, b.pods), Unit: "Pods/s", Ours: float64(b.pods) / took.Seconds(), Goal: "≥ 12"})
	time.Sleep(5 * time.Second)
	b.add(row{What: fmt.Sprintf("agent with containerd, resident, %d Pods", b.pods), Unit: "MB", Ours: d.memory("VmRSS"), Goal: "≤ 70"})
	shims := d.family()
	pss := 0.0
	for _, pid := range shims {
		pss += proportional(pid)
	}
	b.add(row{What: "shim and pause for each Pod, proportional", Unit: "MB", Ours: pss / float64(b.pods), Goal: "≤ 4"})
	cpu, err := idleCPU(ctx, append(shims, d.cmd.Process.Pid))
	if err != nil {
		return err
	}
	b.add(row{What: fmt.Sprintf("CPU of an idle node with %d Pods, of one core", b.pods), Unit: "%", Ours: cpu, Goal: "≤ 0.5"})
	return nil
}

// daemon is a minikubelet of its own process.
type daemon struct {
	b   *bench
	cmd *exec.Cmd
	api *http.Client
}

// onDaemon gives a part of the measurements a daemon of its own.
func (b *bench) onDaemon(part func(context.Context, *daemon) error) func(context.Context) error {
	return func(ctx context.Context) (err error) {
		d, err := b.startDaemon(ctx)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, d.stop()) }()
		return part(ctx, d)
	}
}

func (b *bench) flags() []string {
	return []string{"--data-dir", b.path("node", "data"), "--run-dir", b.path("node", "run"), "--log-dir", b.path("node", "log"), "--max-pods", "1000"}
}

func (b *bench) startDaemon(ctx context.Context) (*daemon, error) {
	for _, dir := range []string{"data/images", "run", "log", "manifests"} {
		if err := os.MkdirAll(b.path("node", dir), 0o755); err != nil {
			return nil, err
		}
	}
	if err := os.Link(b.path("busybox.tar"), b.path("node", "data", "images", "busybox.tar")); err != nil {
		return nil, err
	}
	d := &daemon{b: b}
	d.api = &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", b.path("node", "run", "api.sock"))
	}}}
	if err := d.launch(); err != nil {
		return nil, err
	}
	for range 1000 {
		if r, err := d.api.Get("http://node/healthz"); err == nil {
			_ = r.Body.Close()
			return d, nil
		}
		if err := wait(ctx, 10*time.Millisecond); err != nil {
			return nil, errors.Join(err, d.stop())
		}
	}
	return nil, errors.Join(errors.New("the daemon does not answer"), d.stop())
}

// launch starts the process.
func (d *daemon) launch() error {
	d.cmd = exec.Command(filepath.Join(d.b.bin, "minikubelet"), append([]string{"serve", "--manifests", d.b.path("node", "manifests")}, d.b.flags()...)...)
	log, err := os.OpenFile(d.b.path("node", "daemon.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	d.cmd.Stdout, d.cmd.Stderr = log, log
	return d.cmd.Start()
}

// end ends the process; Pods stay.
func (d *daemon) end() {
	_ = d.cmd.Process.Signal(syscall.SIGTERM)
	_ = d.cmd.Wait()
}

// stop ends the daemon, its Pods and what it has on the machine.
func (d *daemon) stop() error {
	d.end()
	out, err := exec.Command(filepath.Join(d.b.bin, "minikubelet"), append([]string{"stop", "--pods", "--grace-period", "0"}, d.b.flags()...)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("stop: %w: %s", err, out)
	}
	return os.RemoveAll(d.b.path("node")) // another part may have a node of its own
}

// fill drops the manifests of Pods of one kind at once and waits until all run.
func (d *daemon) fill(ctx context.Context, w workload, pods int) (time.Duration, error) {
	var files [][2]string
	for i := range pods {
		data, err := yaml.Marshal(w.pod(i))
		if err != nil {
			return 0, err
		}
		temp := d.b.path("node", fmt.Sprintf("%d.tmp", i))
		if err := os.WriteFile(temp, data, 0o600); err != nil {
			return 0, err
		}
		files = append(files, [2]string{temp, d.b.path("node", "manifests", fmt.Sprintf("%d.yaml", i))})
	}
	began := time.Now()
	for _, f := range files {
		if err := os.Rename(f[0], f[1]); err != nil {
			return 0, err
		}
	}
	for {
		running, err := d.running()
		if err != nil {
			return 0, err
		}
		if running == pods {
			return time.Since(began), nil
		}
		if time.Since(began) > 5*time.Minute {
			return 0, fmt.Errorf("%d of %d Pods run after 5 minutes", running, pods)
		}
		if err := wait(ctx, 100*time.Millisecond); err != nil {
			return 0, err
		}
	}
}

func (d *daemon) running() (int, error) {
	r, err := d.api.Get("http://node/api/v1/pods")
	if err != nil {
		return 0, err
	}
	defer r.Body.Close()
	var list corev1.PodList
	if err := json.NewDecoder(r.Body).Decode(&list); err != nil {
		return 0, err
	}
	n := 0
	for _, pod := range list.Items {
		if pod.Status.Phase == corev1.PodRunning {
			n++
		}
	}
	return n, nil
}

// memory reads a line of the daemon's status in MB (10⁶ bytes).
func (d *daemon) memory(field string) float64 {
	return statusField(fmt.Sprintf("/proc/%d/status", d.cmd.Process.Pid), field+":")
}

func statusField(path, field string) float64 {
	f, err := os.Open(path)
	if err != nil {
		return 0
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if rest, ok := strings.CutPrefix(s.Text(), field); ok {
			kb, _ := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 64)
			return kb * 1024 / 1e6
		}
	}
	return 0
}

func proportional(pid int) float64 {
	return statusField(fmt.Sprintf("/proc/%d/smaps_rollup", pid), "Pss:")
}

// family are the shims of this node and their pause processes.
func (d *daemon) family() []int {
	parent := make(map[int]int)
	var shims []int
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		pid, _ := strconv.Atoi(filepath.Base(dir))
		cmdline, _ := os.ReadFile(filepath.Join(dir, "cmdline"))
		if strings.Contains(string(cmdline), "containerd-shim-minikubelet-v1") && strings.Contains(string(cmdline), d.b.path("node")) {
			shims = append(shims, pid)
		}
		parent[pid] = int(statusField(filepath.Join(dir, "status"), "PPid:") / 1024 * 1e6)
	}
	all := append([]int(nil), shims...)
	for pid, ppid := range parent {
		name, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
		for _, shim := range shims {
			if ppid == shim && strings.TrimSpace(string(name)) == "pause" {
				all = append(all, pid)
			}
		}
	}
	return all
}

// idleCPU is what processes take of one core while nothing happens, in %.
func idleCPU(ctx context.Context, pids []int) (float64, error) {
	before := cpuTime(pids)
	if err := wait(ctx, idleTime); err != nil {
		return 0, err
	}
	return 100 * (cpuTime(pids) - before).Seconds() / idleTime.Seconds(), nil
}

// cpuTime adds up user and system time of processes.
func cpuTime(pids []int) time.Duration {
	var ticks int64
	for _, pid := range pids {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			continue
		}
		_, rest, _ := strings.Cut(string(data), ") ")
		fields := strings.Fields(rest)
		if len(fields) < 13 {
			continue
		}
		user, _ := strconv.ParseInt(fields[11], 10, 64)
		system, _ := strconv.ParseInt(fields[12], 10, 64)
		ticks += user + system
	}
	return time.Duration(ticks) * time.Second / 100 // USER_HZ
}
