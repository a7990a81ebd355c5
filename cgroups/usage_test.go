// SPDX-License-Identifier: Apache-2.0

package cgroups

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// until repeats a look until it is content, for as long as a slow machine may take.
func until(t *testing.T, what string, content func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !content(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

func TestUsageOfWhatRuns(t *testing.T) {
	tree := openTree(t)
	need(t, tree, "cpu", "memory", "pids")
	const uid = "usage"
	if err := tree.CreatePod(uid, corev1.PodQOSBurstable, nil); err != nil {
		t.Fatal(err)
	}
	at := tree.ContainerPath(uid, corev1.PodQOSBurstable, "c")
	limit := byMode(tree, Value{"memory", "memory.limit_in_bytes", "268435456"}, Value{"memory", "memory.max", "268435456"})
	makeContainer(t, tree, at, limit)
	// A process that uses both CPU time and memory, and another beside it.
	startIn(t, tree, at, `sleep 1000 & x=$(head -c 20000000 /dev/zero | tr '\0' x); while :; do :; done`)

	var u Usage
	until(t, "CPU time, memory and processes", func() bool {
		var err error
		if u, err = tree.Usage(at); err != nil {
			t.Fatal(err)
		}
		return u.CPUNanos > 5e7 && u.RSS > 10<<20 && u.Processes >= 2 && u.Threads >= 2 && u.UserNanos+u.SystemNanos > 0
	})
	if u.WorkingSet < u.RSS || u.WorkingSet > u.Usage || u.Faults == 0 || u.At.IsZero() {
		t.Errorf("memory: %+v", u)
	}
	if u.MemoryLimit != 268435456 {
		t.Errorf("limit %d", u.MemoryLimit)
	}
	if _, err := os.Stat(filepath.Join(tree.main, at, "cpu.pressure")); tree.Mode() == V2 && err == nil && (u.CPUPressure == nil || u.MemoryPressure == nil) {
		t.Errorf("no pressure: %+v", u)
	}
	pod, err := tree.CPUMemory(tree.PodPath(uid, corev1.PodQOSBurstable))
	if err != nil || pod.Usage < 10<<20 || pod.CPUNanos < 5e7 {
		t.Errorf("the Pod's cgroup tells %+v, %v", pod, err)
	}
	node := tree.NodeUsage()
	if node.CPUNanos < u.CPUNanos || node.Usage < u.Usage || node.WorkingSet > node.Usage || node.MemoryTotal < node.WorkingSet ||
		node.Tasks < 2 || node.TasksMax < node.Tasks || node.BootedAt.After(time.Now()) || node.BootedAt.Unix() < 1e9 {
		t.Errorf("the machine: %+v", node)
	}
}

func TestUsageOfWhatIsNotThere(t *testing.T) {
	tree := openTree(t)
	if _, err := tree.Usage(tree.PodPath("nobody", corev1.PodQOSGuaranteed)); !errors.Is(err, ErrNoUsage) {
		t.Errorf("no Pod: %v", err)
	}
	for _, at := range []string{"/", "/other", tree.Root() + "/../x", tree.Root() + "x", ""} {
		if _, err := tree.CPUMemory(at); err == nil || errors.Is(err, ErrNoUsage) {
			t.Errorf("%q: %v", at, err)
		}
	}
}

func TestParseUsageFiles(t *testing.T) {
	p := parsePressure([]byte("some avg10=1.50 avg60=2.25 avg300=0.00 total=42\nfull avg10=0.10 avg60=0.00 avg300=0.00 total=7\n"))
	if want := (&Pressure{Some: Stall{1.5, 2.25, 0, 42000}, Full: Stall{Avg10: 0.1, TotalNanos: 7000}}); !reflect.DeepEqual(p, want) {
		t.Errorf("pressure %+v", p)
	}
	if parsePressure(nil) != nil || parsePressure([]byte("\nwhat\n")) != nil {
		t.Error("pressure out of nothing")
	}
	io := parseIOStat([]byte("8:16 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0\n8:0 rbytes=9\n7:0\n"))
	if want := []DeviceIO{{Device: "8:0", ReadBytes: 9}, {"8:16", 1, 2, 3, 4}}; !reflect.DeepEqual(io, want) {
		t.Errorf("io.stat %+v", io)
	}
	io = parseBlkio([]byte("8:0 Read 10\n8:0 Write 20\n8:0 Sync 30\n8:0 Total 30\nTotal 30\n"), []byte("8:0 Read 1\n8:0 Write 2\n"))
	if want := []DeviceIO{{"8:0", 10, 20, 1, 2}}; !reflect.DeepEqual(io, want) {
		t.Errorf("blkio %+v", io)
	}
	if n := busyNanos([]byte("cpu  1 2 3 1000 1000 4 5 6 7 8\ncpu0 1 1 1 1\n")); n != 21*1e7 {
		t.Errorf("busy %d", n)
	}
	if n := parseTasks([]byte("0.00 0.01 0.05 1/123 4567\n")); n != 123 {
		t.Errorf("tasks %d", n)
	}
	if m := parseMeminfo([]byte("MemTotal:  2 kB\nHugePages_Total: 0\nInactive(file): 1 kB\n")); m["MemTotal"] != 2048 || m["Inactive(file)"] != 1024 || len(m) != 2 {
		t.Errorf("meminfo %v", m)
	}
}

func FuzzUsageFiles(f *testing.F) {
	f.Add([]byte("some avg10=1.50 avg60=2.25 avg300=0.00 total=42\n"))
	f.Add([]byte("8:0 Read 10\nTotal 10\n"))
	f.Add([]byte("cpu  1 2 3\nMemTotal: 1 kB\n1/2"))
	f.Fuzz(func(_ *testing.T, data []byte) {
		parseTable(data)
		parsePressure(data)
		parseIOStat(data)
		parseBlkio(data, data)
		busyNanos(data)
		parseMeminfo(data)
		parseTasks(data)
	})
}
