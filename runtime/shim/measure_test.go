// SPDX-License-Identifier: Apache-2.0

package shim

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// BenchmarkTask compares the life of a task in containerd's own shim and in
// ours, alone and in a sandbox's shim.
func BenchmarkTask(b *testing.B) {
	for _, name := range []string{"containerd-shim-runc-v2", program} {
		for _, joined := range []bool{false, true} {
			kind := "alone"
			if joined {
				kind = "joined"
			}
			b.Run(strings.TrimPrefix(name, "containerd-shim-")+"/"+kind, func(b *testing.B) { benchmarkTask(b, name, joined) })
		}
	}
}

func benchmarkTask(b *testing.B, shim string, joined bool) {
	bench := newBench(b)
	bench.Shim = filepath.Join(filepath.Dir(bench.Shim), shim)
	r := bench.start(b)
	s := taskSpec{script: "exit 0"}
	if shim != program {
		s.uri = "file://" + filepath.Join(bench.State, "log")
	}
	if joined {
		r.run(b, taskSpec{id: "pause", script: "exec sleep 1000", uri: "null"})
		s.sandbox = "pause"
	}
	var create, start, remove time.Duration
	n := 0
	for b.Loop() {
		s.id = fmt.Sprint("c", n)
		n++
		t0 := time.Now()
		if err := r.create(s); err != nil {
			b.Fatal(err)
		}
		t1 := time.Now()
		if _, err := r.startTask(s.id); err != nil {
			b.Fatal(err)
		}
		t2 := time.Now()
		r.wait(b, s.id)
		t3 := time.Now()
		r.deleteTask(b, s.id)
		t4 := time.Now()
		create, start, remove = create+t1.Sub(t0), start+t2.Sub(t1), remove+t4.Sub(t3)
		r.removeContainer(b, s.id)
	}
	for name, d := range map[string]time.Duration{"create": create, "start": start, "delete": remove} {
		b.ReportMetric(float64(d.Microseconds())/1000/float64(n), name+"-ms")
	}
}

// BenchmarkMemory says how much memory shims take, each with a sandbox process
// and two containers with logs.
func BenchmarkMemory(b *testing.B) {
	for _, name := range []string{"containerd-shim-runc-v2", program} {
		b.Run(strings.TrimPrefix(name, "containerd-shim-"), func(b *testing.B) { benchmarkMemory(b, name) })
	}
}

func benchmarkMemory(b *testing.B, shim string) {
	bench := newBench(b)
	bench.Shim = filepath.Join(filepath.Dir(bench.Shim), shim)
	r := bench.start(b)
	const pods = 8
	var pids []int
	for i := range pods {
		pod := fmt.Sprint("pod", i)
		pids = append(pids, r.shimPID(b, r.run(b, taskSpec{id: pod, script: "exec sleep 1000", uri: "null"})))
		for j := range 2 {
			s := taskSpec{id: fmt.Sprint(pod, "c", j), sandbox: pod, script: "seq 1 1000; exec sleep 1000"}
			if shim != program {
				s.uri = "file://" + filepath.Join(bench.State, s.id+".log")
			}
			r.run(b, s)
		}
	}
	time.Sleep(settled + 2*time.Second)
	cpu := cpuTime(b, pids)
	time.Sleep(31 * time.Second)
	b.ReportMetric(float64((cpuTime(b, pids)-cpu).Microseconds())/31/1000/pods, "idle-cpu-ms/s")
	var pss, anon, rss int
	for _, pid := range pids {
		m := rollup(b, pid)
		pss, anon, rss = pss+m["Pss"], anon+m["Anonymous"], rss+m["Rss"]
	}
	b.ReportMetric(float64(pss)/pods, "PSS-KiB")
	b.ReportMetric(float64(anon)/pods, "anonymous-KiB")
	b.ReportMetric(float64(rss)/pods, "RSS-KiB")
}

func cpuTime(b *testing.B, pids []int) (total time.Duration) {
	b.Helper()
	for _, pid := range pids {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/schedstat", pid))
		if err != nil {
			b.Fatal(err)
		}
		tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
		if err != nil || len(tasks) == 0 {
			b.Fatalf("threads of %d: %v (%s)", pid, err, data)
		}
		for _, task := range tasks {
			data, err := os.ReadFile(task)
			if err != nil {
				continue // the thread has ended
			}
			ns, _, _ := strings.Cut(string(data), " ")
			n, err := strconv.ParseInt(ns, 10, 64)
			if err != nil {
				b.Fatal(err)
			}
			total += time.Duration(n)
		}
	}
	return total
}

// rollup returns the sums of a process' memory in KiB.
func rollup(b *testing.B, pid int) map[string]int {
	b.Helper()
	f, err := os.Open(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	sums := map[string]int{}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if fields := strings.Fields(lines.Text()); len(fields) == 3 {
			n, _ := strconv.Atoi(fields[1])
			sums[strings.TrimSuffix(fields[0], ":")] = n
		}
	}
	return sums
}

// BenchmarkThroughput is how fast a container can write to its log.
func BenchmarkThroughput(b *testing.B) {
	for _, name := range []string{"containerd-shim-runc-v2", program} {
		b.Run(strings.TrimPrefix(name, "containerd-shim-"), func(b *testing.B) {
			bench := newBench(b)
			bench.Shim = filepath.Join(filepath.Dir(bench.Shim), name)
			r := bench.start(b)
			s := taskSpec{max: 10 << 20}
			if name != program {
				s.uri = "file://" + filepath.Join(bench.Root, "log")
			}
			const size = 200 << 20
			b.SetBytes(size)
			for n := 0; b.Loop(); n++ {
				s.id = fmt.Sprint("c", n)
				line := strings.Repeat("x", 99)
				s.script = fmt.Sprintf("yes %s | head -c %d", line, size)
				r.run(b, s)
				r.wait(b, s.id)
				r.deleteTask(b, s.id)
				syscall.Sync()
			}
		})
	}
}
